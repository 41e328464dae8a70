/* Everything a page needs is in it: style and script are text here, so that one file can be mailed or kept as
 * a CI artefact and is read the same in ten years. */
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void dppo_html_escape(dppo_text *html, const char *string) {
    for (; *string; string++) {
        unsigned char c = (unsigned char)*string;
        if (c == '&')
            dppo_text_add(html, "&amp;");
        else if (c == '<')
            dppo_text_add(html, "&lt;");
        else if (c == '>')
            dppo_text_add(html, "&gt;");
        else if (c == '"')
            dppo_text_add(html, "&quot;");
        else if (c == '\'')
            dppo_text_add(html, "&#39;");
        else if ((c < 32 && c != '\n' && c != '\t') || c == 127)
            dppo_text_add(html, "&#xFFFD;");
        else
            dppo_text_append(html, string, 1);
    }
}

/* -- numbers
 * ---------------------------------------------------------------------------------------------------- */

/* Not printf's "'", which asks the locale.
 * Puts commas between groups of three digits of the integer part of "%f" text. */
static void group_digits(const char *plain, char *buffer) {
    size_t sign = *plain == '-', integer = strcspn(plain + sign, ".");
    char *out = buffer;
    if (sign) *out++ = '-';
    for (size_t i = 0; i < integer; i++) {
        if (i > 0 && (integer - i) % 3 == 0) *out++ = ',';
        *out++ = plain[sign + i];
    }
    (void)strcpy(out, plain + sign + integer);
}

/* "1.5e-07" to "1.5e-7". */
static void shorten_exponent(char *text) {
    char *e = strchr(text, 'e');
    if (!e) return;
    char *digits = e + 2, *first = digits;
    while (*first == '0' && first[1])
        first++;
    bool plus = e[1] == '+';
    memmove(plus ? e + 1 : digits, first, strlen(first) + 1);
}

static void drop_trailing_zeros(char *text) {
    if (!strchr(text, '.')) return;
    char *end = text + strlen(text);
    while (end[-1] == '0')
        end--;
    if (end[-1] == '.') end--;
    *end = '\0';
}

char *dppo_number_text(double value, int digits, char buffer[DPPO_NUMBER_TEXT]) {
    char plain[DPPO_NUMBER_TEXT];
    double magnitude = fabs(value);
    if (value == 0) return strcpy(buffer, "0"); /* -0 too */
    if (isnan(value)) return strcpy(buffer, "NaN");
    if (isinf(value)) return strcpy(buffer, value > 0 ? "inf" : "-inf");
    if (magnitude < 1e-4 || magnitude >= 1e9) {
        (void)snprintf(buffer, DPPO_NUMBER_TEXT, "%.*g", digits, value);
        shorten_exponent(buffer);
        return buffer;
    }
    int before = (int)floor(log10(magnitude)) + 1; /* digits in front of the point; below 0.1 negative */
    int decimals = digits > before ? digits - before : 0;
    (void)snprintf(plain, sizeof plain, "%.*f", decimals, value);
    drop_trailing_zeros(plain);
    group_digits(plain, buffer);
    return buffer;
}

void dppo_html_number(dppo_text *html, double value, int digits) {
    char buffer[DPPO_NUMBER_TEXT];
    const char *text = dppo_number_text(value, digits, buffer);
    if (*text == '-') dppo_text_add(html, "\xE2\x88\x92"); /* the minus sign, as wide as a digit */
    dppo_text_add(html, text + (*text == '-'));
}

void dppo_html_count(dppo_text *html, int64_t value) {
    char plain[DPPO_NUMBER_TEXT], grouped[DPPO_NUMBER_TEXT];
    (void)snprintf(plain, sizeof plain, "%lld", (long long)value);
    group_digits(plain, grouped);
    dppo_text_add(html, grouped);
}

void dppo_html_percent(dppo_text *html, double share) {
    if (isnan(share) || share == 0 || share == 1)
        dppo_text_add(html, isnan(share) ? "NaN" : share == 0 ? "0 %" : "100 %");
    else if (share > 0.9999 || share < 0.0001)
        dppo_text_add(html, share > 0.5 ? "&gt;99.99 %" : "&lt;0.01 %");
    else
        dppo_text_format(html, "%.2f %%", 100 * share);
}

/* -- the frame
 * -------------------------------------------------------------------------------------------------- */

/* Okabe and Ito's blue and orange can be told apart with any colour vision; C is thin and dark above a wide
 * pale libtorch, so that two lines that coincide are both seen. Text has a contrast of at least 4.5 in both
 * schemes. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--panel:#f6f8fa;"
    "--c:#00518c;--torch:#e69f00;--torch-text:#7a4a00;--bad:#a40e26;--good:#116329;--bad-bg:#ffe8e8;"
    "--good-bg:#dff5e3;--neutral-bg:#e7edf5;--neutral:#28405c}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1419;--fg:#e6edf3;--soft:#a3adb8;--line:#343c46;"
    "--panel:#171d24;--c:#9fd3ff;--torch:#e69f00;--torch-text:#f0b849;--bad:#ff9a9a;--good:#7ee2a0;"
    "--bad-bg:#4a1518;--good-bg:#12381f;--neutral-bg:#1f2d3d;--neutral:#b9d2ee}}\n"
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}\n"
    "body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation "
    "Sans',sans-serif;background:var(--bg);"
    "color:var(--fg);max-width:104rem;margin:0 auto;padding:1rem clamp(.75rem,2.5vw,2.5rem) 3rem}\n"
    "h1{font-size:1.35rem;margin:.2rem 0 0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}"
    "h3{font-size:.95rem;margin:0 0 .3rem}p{margin:.4rem 0;max-width:75ch}\n"
    ".sub{color:var(--soft);margin:0 0 "
    "1rem;overflow-wrap:anywhere}.note{color:var(--soft);font-size:.87rem}\n"
    ".verdict{border-left:.5rem solid;border-radius:.4rem;padding:.8rem 1.1rem;margin:.6rem 0 1.2rem}"
    ".verdict p{color:var(--fg);max-width:95ch}.verdict "
    "strong{display:block;font-size:1.5rem;line-height:1.3}\n"
    ".verdict.good{background:var(--good-bg);color:var(--good)}.verdict.bad{background:var(--bad-bg);"
    "color:var(--bad)}.verdict.neutral{background:var(--neutral-bg);color:var(--neutral)}\n"
    ".badge{font-weight:600;white-space:nowrap}.badge.good{color:var(--good)}.badge.bad{color:var(--bad)}"
    ".badge.neutral{color:var(--soft)}\n"
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));gap:.7rem;margin:0}"
    ".figures div{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.6rem "
    ".8rem}"
    ".figures dt{color:var(--soft);font-size:.82rem}.figures dd{margin:0;font-size:1.3rem;line-height:1.35;"
    "font-variant-numeric:tabular-nums}.figures dd small{display:block;font-size:.82rem;color:var(--soft)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));gap:1rem}"
    "figure{margin:0;border:1px solid var(--line);border-radius:.4rem;padding:.7rem .8rem .4rem;"
    "break-inside:avoid;min-width:0}figcaption{font-size:.82rem;color:var(--soft);min-height:1.3em}\n"
    "svg{display:block;width:100%;height:auto;font:11.5px system-ui,-apple-system,'Segoe UI',Roboto,"
    "'Liberation Sans',sans-serif;font-variant-numeric:tabular-nums}svg text{fill:var(--soft)}\n"
    ".grid{stroke:var(--line);stroke-width:1;fill:none}.axis{stroke:var(--soft);stroke-width:1;fill:none}"
    ".c{stroke:var(--c);stroke-width:1.7;fill:none;stroke-linejoin:round}.c-dot{stroke:var(--c);stroke-width:"
    "4.2}"
    ".torch{stroke:var(--torch);stroke-width:6;stroke-opacity:.55;fill:none;stroke-linejoin:round;"
    "stroke-linecap:round}.torch-dot{stroke:var(--torch);stroke-width:8;stroke-opacity:.55}"
    ".gap{stroke:var(--fg);stroke-width:1.3;fill:none}.gap-dot{stroke:var(--fg);stroke-width:4.4}.zero-dot{"
    "stroke:var(--good);stroke-width:5}.c-dot,.torch-dot,.gap-dot,.zero-dot{fill:none;stroke-linecap:round}."
    "dense .torch{stroke-width:4}.dense .zero-dot{stroke-width:3}."
    "outside-dot{fill:var(--bad)}"
    ".limit{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 4;fill:none}"
    ".outside{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:2 3}svg text.outside-text{fill:var(--bad)}"
    ".hit{fill:transparent}.hit:hover{fill:var(--fg);fill-opacity:.07}\n"
    ".legend{display:flex;gap:1.4rem;flex-wrap:wrap;margin:.2rem 0 .8rem;color:var(--soft);font-size:.87rem}"
    ".legend svg{display:inline-block;width:42px;height:12px;vertical-align:middle;margin-right:.35rem}\n"
    ".scroll{overflow-x:auto;width:fit-content;max-width:100%;border:1px solid "
    "var(--line);border-radius:.4rem}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}"
    "th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid "
    "var(--line);vertical-align:top;white-space:nowrap}"
    "tbody tr:last-child>*{border-bottom:0}thead "
    "th{background:var(--panel);color:var(--soft);font-weight:600}"
    "tbody "
    "th{font-weight:500}th:first-child,.left{text-align:left}td.wide{overflow-wrap:anywhere;white-space:"
    "normal}thead th{white-space:normal}\n"
    "details{border:1px solid var(--line);border-radius:.4rem;padding:.5rem .8rem;margin:.6rem 0}"
    "summary{cursor:pointer;font-weight:600}pre{overflow-x:auto;font-size:.85rem;margin:.6rem 0}"
    "code{overflow-wrap:anywhere;font-size:.92em}\n"
    "input{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--soft);border-radius:.3rem;"
    "padding:.25rem .5rem;margin:.2rem 0 "
    ".6rem;width:min(100%,24rem)}label{color:var(--soft);margin-right:.5rem}\n"
    "#tip{position:fixed;pointer-events:none;background:var(--fg);color:var(--bg);padding:.3rem .55rem;"
    "border-radius:.3rem;font-size:.82rem;white-space:pre;z-index:9;display:none}\n"
    "@media(max-width:600px){tbody "
    "th{white-space:normal;overflow-wrap:anywhere;min-width:8rem;max-width:42vw}"
    "th,td{padding:.3rem .5rem}}\n"
    "@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--panel:#fff;--c:#00518c;--torch:#e69f00;--line:#bbb;"
    "--bad:#a40e26;--good:#116329;--bad-bg:#fff;--good-bg:#fff;--neutral-bg:#fff;--neutral:#28405c}"
    "body{max-width:none;padding:0;font-size:11px}.charts{grid-template-columns:1fr 1fr}.verdict{border:1px "
    "solid;"
    "border-left-width:.5rem}.filter{display:none}h2{break-after:avoid}}\n";

/* The page says everything without it; it only shows a chart's numbers at once and filters tables. */
static const char script[] =
    "(function(){'use strict';var tip=document.createElement('div');tip.id='tip';"
    "tip.setAttribute('aria-hidden','true');document.body.appendChild(tip);"
    "document.querySelectorAll('.hit').forEach(function(hit){var title=hit.querySelector('title');"
    "if(!title)return;var words=title.textContent;title.remove();hit.setAttribute('aria-label',words);"
    "hit.addEventListener('pointermove',function(e){tip.textContent=words;tip.style.display='block';"
    "var x=e.clientX+14,y=e.clientY+14;if(x+tip.offsetWidth>innerWidth)x=e.clientX-tip.offsetWidth-10;"
    "if(y+tip.offsetHeight>innerHeight)y=e.clientY-tip.offsetHeight-10;"
    "tip.style.left=Math.max(0,x)+'px';tip.style.top=Math.max(0,y)+'px';});"
    "hit.addEventListener('pointerleave',function(){tip.style.display='none';});});"
    "document.querySelectorAll('.filter').forEach(function(box){box.hidden=false;"
    "var input=box.querySelector('input'),rows=document.querySelectorAll('#'+box.dataset.table+' tbody tr');"
    "input.addEventListener('input',function(){var word=input.value.toLowerCase();rows.forEach(function(row){"
    "row.hidden=row.textContent.toLowerCase().indexOf(word)<0;});});});})();\n";

void dppo_page_begin(dppo_text *html, const char *title, const char *subtitle) {
    dppo_text_add(html,
                  "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"generator\" content=\"dppo\">\n<link rel=\"icon\" href=\"data:,\">\n<title>");
    dppo_html_escape(html, title);
    dppo_text_add(html, "</title>\n<style>\n");
    dppo_text_add(html, style);
    dppo_text_add(html, "</style>\n</head>\n<body>\n<main>\n<h1>");
    dppo_html_escape(html, title);
    dppo_text_add(html, "</h1>\n<p class=\"sub\">");
    if (subtitle) dppo_html_escape(html, subtitle);
    dppo_text_add(html, "</p>\n");
}

void dppo_page_end(dppo_text *html) {
    dppo_text_add(html, "</main>\n<script>\n");
    dppo_text_add(html, script);
    dppo_text_add(html, "</script>\n</body>\n</html>\n");
}

static const char *tone_name(dppo_tone tone) {
    return tone == DPPO_TONE_GOOD ? "good" : tone == DPPO_TONE_BAD ? "bad" : "neutral";
}

void dppo_page_verdict(dppo_text *html, dppo_tone tone, const char *headline, const char *detail) {
    dppo_text_format(
        html, "<section class=\"verdict %s\" id=\"verdict\" aria-label=\"Verdict\"><strong>%s</strong>",
        tone_name(tone), headline);
    dppo_text_format(html, "<p>%s</p></section>\n", detail);
}

void dppo_html_badge(dppo_text *html, dppo_tone tone, const char *word) {
    dppo_text_format(html, "<span class=\"badge %s\">%s</span>", tone_name(tone), word);
}

dppo_status dppo_page_save(const dppo_text *html, const char *folder) {
    char path[4096];
    DPPO_TRY(dppo_make_folder(folder));
    if (snprintf(path, sizeof path, "%s/index.html", folder) >= (int)sizeof path)
        return dppo_fail(DPPO_INVALID, "%s: path too long", folder);
    return dppo_text_save(html, path);
}
