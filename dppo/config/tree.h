/* The inside of a configuration tree; for the files of this room only. */
#ifndef DPPO_CONFIG_TREE_H
#define DPPO_CONFIG_TREE_H

#include "config/config.h"

#include <stdatomic.h>

/* Limits on what a file may ask of us: nesting (the readers recurse), and nodes and bytes that aliases and
 * interpolations may copy (a few hundred bytes of text can otherwise expand to gigabytes). */
enum { DPPO_CONFIG_DEPTH = 64, DPPO_CONFIG_NODES = 1 << 20, DPPO_CONFIG_TEXT = 1 << 20 };

typedef enum dppo_config_state { DPPO_RAW, DPPO_RESOLVING, DPPO_RESOLVED } dppo_config_state;

struct dppo_config {
    dppo_config_type type;
    dppo_config_state state; /* of interpolation; strings only */
    int line;                /* in the source; 0 when made by a program */
    dppo_config *parent;     /* borrowed; NULL at the root */
    char *source;            /* of a root: the file's name, owned; else NULL */
    atomic_bool read;        /* somebody asked for it; threads may read one tree */
    bool boolean;
    int64_t integer;
    double number;
    char *string;        /* owned */
    dppo_config **items; /* (count), owned */
    char **keys;         /* (count), owned; maps only */
    size_t count, capacity;
};

dppo_config *dppo_config_new(dppo_config_type type, int line);
dppo_config *dppo_config_new_string(const char *bytes, size_t length, int line);
/* Appends and takes ownership of `item`, also when it fails; `key` is copied, NULL in lists. */
dppo_status dppo_config_append(dppo_config *container, const char *key, dppo_config *item);
dppo_config *dppo_config_child(const dppo_config *map, const char *key, size_t length);
/* Puts the contents of `from` in the place of node's (which are freed), and frees the shell of `from`. */
void dppo_config_become(dppo_config *node, dppo_config *from);
size_t dppo_config_size(const dppo_config *node); /* nodes of the subtree */
/* The node at a dotted path below `root`, made (as maps) where it is missing. */
dppo_status dppo_config_make(dppo_config *root, const char *path, dppo_config **node);

/* dppo_fail() with "file:line: path: " in front. */
dppo_status dppo_config_fail(const dppo_config *node, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A plain scalar by the rules of YAML 1.1 as OmegaConf reads it (1e-3 is a float, no timestamps).
 * DPPO_INVALID, with the message set, for an integer beyond 64 bits; NULL *node when memory is exhausted. */
dppo_status dppo_config_plain(const char *text, size_t length, int line, dppo_config **node);
bool dppo_config_is_plain_string(const char *text, size_t length);

/* Python's repr of a float: the shortest text that reads back as the same number. */
enum { DPPO_NUMBER_TEXT = 40 };
void dppo_config_float_text(double value, char text[DPPO_NUMBER_TEXT]);
/* Python's str of a scalar, appended; false for lists and maps. */
bool dppo_config_scalar_text(const dppo_config *node, dppo_text *text);

/* The value of a Python arithmetic expression: an int or float node. */
dppo_status dppo_config_evaluate(const char *expression, dppo_config **value);

#endif
