/* HTML of the report pages: one frame, one style, for runs and parity alike. */
#ifndef DPPO_REPORT_PAGE_H
#define DPPO_REPORT_PAGE_H

#include "base/text.h"

#include <stdint.h>

typedef enum dppo_tone { DPPO_TONE_GOOD, DPPO_TONE_BAD, DPPO_TONE_NEUTRAL } dppo_tone;

/* Text from files: & < > " ' become entities, control characters a visible mark. */
void dppo_html_escape(dppo_text *html, const char *string);

enum { DPPO_NUMBER_TEXT = 64 };
/* `value` to `digits` significant digits with thousands separators, 1.2e-7 beyond 1e-4 and 1e9; "NaN", "inf",
 * "-inf". Returns buffer. */
char *dppo_number_text(double value, int digits, char buffer[DPPO_NUMBER_TEXT]);
void dppo_html_number(dppo_text *html, double value, int digits);
void dppo_html_count(dppo_text *html, int64_t value);  /* 1,234,567 */
void dppo_html_percent(dppo_text *html, double share); /* never rounded up to 100 % nor down to 0 % */

/* The page up to the end of its heading, and its end. `title` is escaped, `subtitle` may be NULL. */
void dppo_page_begin(dppo_text *html, const char *title, const char *subtitle);
void dppo_page_end(dppo_text *html);
/* The coloured band: one headline and an explanation, both HTML. */
void dppo_page_verdict(dppo_text *html, dppo_tone tone, const char *headline, const char *detail);
/* A badge "within", "failed", ...: a word, never colour alone. */
void dppo_html_badge(dppo_text *html, dppo_tone tone, const char *word);
/* A folder's index.html, whole or not at all. */
dppo_status dppo_page_save(const dppo_text *html, const char *folder);

#endif
