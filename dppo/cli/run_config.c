#include "cli/run_config.h"

#include <string.h>

bool dppo_is_override(const char *word) {
    const char *equals = strchr(word, '='), *slash = strchr(word, '/');
    if (word[0] == '~') return true;
    return word[0] != '-' && equals && (!slash || equals < slash);
}
