/* Configuration: what is read, what it becomes, and what is refused with which words. */
#include "config/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static dppo_config *parsed(const char *yaml) {
    dppo_config *root = NULL;
    if (dppo_config_parse_yaml(yaml, "t.yaml", &root) != DPPO_OK) fail_msg("%s", dppo_message());
    return root;
}

static dppo_config *resolved(const char *yaml) {
    dppo_config *root = parsed(yaml);
    if (dppo_config_resolve(root) != DPPO_OK) fail_msg("%s", dppo_message());
    return root;
}

/* One-line JSON, which shows value and type of every node. */
static void assert_json(const dppo_config *node, const char *expected) {
    dppo_text text = {0};
    dppo_config_write_json(node, &text);
    assert_string_equal(text.bytes, expected);
    dppo_text_free(&text);
}

static void assert_message(const char *part) {
    if (!strstr(dppo_message(), part)) fail_msg("'%s' is not in '%s'", part, dppo_message());
    assert_null(strchr(dppo_message(), '\n'));
}

static void test_scalars(void **unused) {
    (void)unused;
    static const char *const cases[][2] = {
        {"1e-3", "0.001"},
        {"1e3", "1000.0"},
        {"-1.5E+2", "-150.0"},
        {"1.", "1.0"},
        {".5", "0.5"},
        {"1_000", "1000"},
        {"1_000.5", "1000.5"},
        {"12", "12"},
        {"-7", "-7"},
        {"+7", "7"},
        {"0x1F", "31"},
        {"017", "15"},
        {"0b101", "5"},
        {"0", "0"},
        {"1:30", "90"},
        {"True", "true"},
        {"off", "false"},
        {"Yes", "true"},
        {"~", "null"},
        {"null", "null"},
        {"", "null"},
        {"'1'", "\"1\""},
        {"\"true\"", "\"true\""},
        {"e3", "\"e3\""},
        {"1e", "\"1e\""},
        {"cuda:0", "\"cuda:0\""},
        {".", "\".\""},
        {"-", "[null]"},
        {"2024-06-12", "\"2024-06-12\""},
        {".inf", "Infinity"},
        {"-.Inf", "-Infinity"},
        {".nan", "NaN"},
        {"!!float 3", "3.0"},
        {"!!str 3", "\"3\""},
        {"1e-05", "1e-05"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"0.1", "0.1"},
        {"123456789.125", "123456789.125"},
        {"1e16", "1e+16"},
        {"1e15", "1000000000000000.0"},
        {"08", "\"08\""},
        {"1 2", "\"1 2\""},
        {"-0.0", "-0.0"},
        {"0.30000000000000004", "0.30000000000000004"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_config *root = parsed(cases[i][0]);
        assert_json(root, cases[i][1]);
        dppo_config_free(root);
    }
}

static void test_structures(void **unused) {
    (void)unused;
    dppo_config *root = parsed("base: &b {x: 1, y: 2}\n"
                               "other: {<<: *b, y: 3}\n"
                               "both: {<<: [{z: 9, x: 7}, *b]}\n"
                               "list: [*b, [1, two], null]\n");
    assert_json(root, "{\"base\": {\"x\": 1, \"y\": 2}, \"other\": {\"y\": 3, \"x\": 1}, "
                      "\"both\": {\"z\": 9, \"x\": 7, \"y\": 2}, "
                      "\"list\": [{\"x\": 1, \"y\": 2}, [1, \"two\"], null]}");
    int64_t value;
    assert_int_equal(dppo_config_int(root, "list.0.y", &value), DPPO_OK);
    assert_int_equal(value, 2);
    assert_null(dppo_config_get(root, "list.3"));
    assert_null(dppo_config_get(root, "base.x.y"));
    assert_int_equal(dppo_config_count(dppo_config_get(root, "list")), 3);
    assert_string_equal(dppo_config_key(root, 1), "other");
    dppo_config_free(root);
}

static void test_refused_yaml(void **unused) {
    (void)unused;
    static const char *const cases[][2] = {
        {"a: 1\nb: 2\na: 3\n", "t.yaml:3: duplicate key 'a'"},
        {"a: [1, 2\n", "t.yaml:2:"},
        {"a: *nowhere\n", "t.yaml:1: unknown alias 'nowhere'"},
        {"a: &x [*x]\n", "unknown alias 'x'"},
        {"a: {<<: {k: &x 1}, b: *x}\n", ""},
        {"a: 1\n---\nb: 2\n", "second document"},
        {"a: !!python/object/apply:os.system [ls]\n", "unsupported tag"},
        {"a: !!int x\n", "not what its tag says"},
        {"a: 9223372036854775808\n", "t.yaml:1: the integer 9223372036854775808"},
        {"a: \"\\0\"\n", "t.yaml:1: a string holds a NUL"},
        {"? [a]\n: 1\n", "a key must be plain text"},
        {"a: {<<: 1}\n", "'<<' needs a map"},
        {"a: \xff\n", "t.yaml:1:"},
        {"a: {<<: {k: 1}, b: [&x 1, *y]}\n", "unknown alias 'y'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_config *root = NULL;
        dppo_status status = dppo_config_parse_yaml(cases[i][0], "t.yaml", &root);
        if (cases[i][1][0] == '\0') { /* an anchor in a merged map may be used while that map is there */
            assert_int_equal(status, DPPO_OK);
            dppo_config_free(root);
            continue;
        }
        assert_int_not_equal(status, DPPO_OK);
        assert_null(root);
        assert_message(cases[i][1]);
    }
    char deep[401];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    deep[400] = '\0';
    dppo_config *root;
    assert_int_equal(dppo_config_parse_yaml(deep, "t.yaml", &root), DPPO_FORMAT);
    assert_message("nested too deeply");
    assert_int_equal(dppo_config_parse_json(deep, "t.json", &root), DPPO_FORMAT);
    assert_message("nested too deeply");
}

/* Nine levels of nine aliases would be 387 million nodes. */
static void test_alias_bomb(void **unused) {
    (void)unused;
    dppo_text text = {0};
    dppo_text_add(&text, "a0: &a0 [1]\n");
    for (int i = 1; i < 10; i++) {
        dppo_text_format(&text, "a%d: &a%d [", i, i);
        for (int j = 0; j < 9; j++)
            dppo_text_format(&text, "%s*a%d", j ? ", " : "", i - 1);
        dppo_text_add(&text, "]\n");
    }
    dppo_config *root;
    assert_int_equal(dppo_config_parse_yaml(text.bytes, "bomb.yaml", &root), DPPO_FORMAT);
    assert_message("bomb.yaml:");
    dppo_text_free(&text);
}

static void test_json(void **unused) {
    (void)unused;
    static const char *const good[][2] = {
        {"{\"a\": [1, -2.5e3, true, null], \"b\": {}}", "{\"a\": [1, -2500.0, true, null], \"b\": {}}"},
        {"[NaN, Infinity, -Infinity]", "[NaN, Infinity, -Infinity]"},
        {" \"q\\u00e9\\n\\ud83d\\ude00\\/\" ", "\"q\xc3\xa9\\n\xf0\x9f\x98\x80/\""},
        {"[]", "[]"},
        {"-0", "0"},
        {"1E5", "100000.0"},
    };
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{a: 1}",
                                      "01",
                                      "1.",
                                      "'a'",
                                      "[1 2]",
                                      "nul",
                                      "\"\\x\"",
                                      "\"\\ud800\"",
                                      "1 2",
                                      "\"\\u0000\"",
                                      "\"a\nb\"",
                                      "\"\xff\"",
                                      "{\"a\":1,\"a\":2}",
                                      "9223372036854775808",
                                      "+1",
                                      ".5"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        dppo_config *root = NULL;
        if (dppo_config_parse_json(good[i][0], "t.json", &root) != DPPO_OK) fail_msg("%s", dppo_message());
        assert_json(root, good[i][1]);
        dppo_config_free(root);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dppo_config *root = NULL;
        if (dppo_config_parse_json(bad[i], "t.json", &root) == DPPO_OK) fail_msg("'%s' was accepted", bad[i]);
        assert_null(root);
        assert_message("t.json");
    }
}

static void test_interpolation(void **unused) {
    (void)unused;
    setenv("DPPO_TEST_WORD", "${a} stays", 1);
    unsetenv("DPPO_TEST_ABSENT");
    dppo_config *root = resolved("a: 4\n"
                                 "b: ${a}\n"
                                 "text: ta${a}_${m.x}\n"
                                 "m: {x: 1.0, y: \"${.x}\", z: \"${..a}\", deep: {w: \"${..x}\"}}\n"
                                 "copy: ${m}\n"
                                 "list: [10, 20, \"${list[0]}\", \"${.1}\"]\n"
                                 "which: x\n"
                                 "chosen: ${m.${which}}\n"
                                 "env: ${oc.env:DPPO_TEST_WORD}\n"
                                 "fallback: ${oc.env:DPPO_TEST_ABSENT,some/where}\n"
                                 "nothing: ${oc.env:DPPO_TEST_ABSENT,null}\n"
                                 "flag: True\n"
                                 "mixed: ${flag} ${nothing}\n"
                                 "escaped: \\${a}\n"
                                 "through: ${link.x}\n"
                                 "link: ${m}\n"
                                 "up: ${round_up:${eval:'${a} / 3'}}\n"
                                 "down: ${round_down:-1.5}\n");
    assert_json(root,
                "{\"a\": 4, \"b\": 4, \"text\": \"ta4_1.0\", "
                "\"m\": {\"x\": 1.0, \"y\": 1.0, \"z\": 4, \"deep\": {\"w\": 1.0}}, "
                "\"copy\": {\"x\": 1.0, \"y\": 1.0, \"z\": 4, \"deep\": {\"w\": 1.0}}, "
                "\"list\": [10, 20, 10, 20], \"which\": \"x\", \"chosen\": 1.0, "
                "\"env\": \"${a} stays\", \"fallback\": \"some/where\", \"nothing\": null, \"flag\": true, "
                "\"mixed\": \"True None\", \"escaped\": \"${a}\", \"through\": 1.0, "
                "\"link\": {\"x\": 1.0, \"y\": 1.0, \"z\": 4, \"deep\": {\"w\": 1.0}}, "
                "\"up\": 2, \"down\": -2}");
    dppo_config_free(root);
}

static void test_now_is_one_moment(void **unused) {
    (void)unused;
    dppo_config *root = resolved("a: ${now:%Y-%m-%d}_${now:%H-%M-%S}\nb: ${now:%Y-%m-%d}_${now:%H-%M-%S}\n");
    const char *a, *b;
    assert_int_equal(dppo_config_string(root, "a", &a), DPPO_OK);
    assert_int_equal(dppo_config_string(root, "b", &b), DPPO_OK);
    assert_string_equal(a, b);
    int fields[6];
    assert_int_equal(sscanf(a, "%4d-%2d-%2d_%2d-%2d-%2d", &fields[0], &fields[1], &fields[2], &fields[3],
                            &fields[4], &fields[5]),
                     6);
    assert_true(fields[0] >= 2024 && fields[1] >= 1 && fields[1] <= 12);
    dppo_config_free(root);
}

/* The right column is what Python prints for the left one. */
static void test_arithmetic(void **unused) {
    (void)unused;
    static const char *const cases[][2] = {
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"7 / 2", "3.5"},
        {"6 / 2", "3.0"},
        {"7 // 2", "3"},
        {"-7 // 2", "-4"},
        {"-7 % 3", "2"},
        {"7 % -3", "-2"},
        {"7.5 // 2", "3.0"},
        {"-7.5 // 2", "-4.0"},
        {"-7.5 % 2", "0.5"},
        {"2 ** 10", "1024"},
        {"2 ** -1", "0.5"},
        {"-2 ** 2", "-4"},
        {"2 ** 3 ** 2", "512"},
        {"(-1) ** 1000001", "-1"},
        {"2.0 ** 0.5", "1.4142135623730951"},
        {"- 3 * 4", "-12"},
        {"--3", "3"},
        {"min(3, 1.5, 2)", "1.5"},
        {"max(1, 2)", "2"},
        {"int(-2.7)", "-2"},
        {"round(2.5)", "2"},
        {"round(3.5)", "4"},
        {"round(-0.5)", "0"},
        {"round(2.675, 2)", "2.67"},
        {"abs(-4)", "4"},
        {"float(2)", "2.0"},
        {"1e3", "1000.0"},
        {"0.1 + 0.2", "0.30000000000000004"},
        {"round(1000 / 4)", "250"},
        {"3 - 2 - 1", "0"},
        {"8 / 4 / 2", "1.0"},
        {"1 - -1", "2"},
        {"6.0 % 3", "0.0"},
        {"-6.0 % 3", "0.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char yaml[200];
        (void)snprintf(yaml, sizeof yaml, "v: ${eval:'%s'}", cases[i][0]);
        dppo_config *root = resolved(yaml);
        assert_json(dppo_config_get(root, "v"), cases[i][1]);
        dppo_config_free(root);
    }
}

static void test_refused_interpolation(void **unused) {
    (void)unused;
    unsetenv("DPPO_TEST_ABSENT");
    static const char *const cases[][2] = {
        {"a: ${b}\nb: ${c}\nc: x${a}\n", "depends on itself"},
        {"a: {b: \"${a}\"}\n", "t.yaml:1: a.b: '${a}' depends on itself"},
        {"m:\n  k: ${nowhere.x}\n", "t.yaml:2: m.k: '${nowhere.x}': there is no key 'nowhere.x'"},
        {"k: ${shell:ls}\n", "k: '${shell:ls}': unknown resolver 'shell'"},
        {"k: ${oc.env:DPPO_TEST_ABSENT}\n", "environment variable 'DPPO_TEST_ABSENT' is not set"},
        {"k: ${eval:'__import__(\"os\").system(\"ls\")'}\n", "'__import__' is not arithmetic"},
        {"k: ${eval:'os.system'}\n", "'os.system' is not arithmetic"},
        {"k: ${eval:'1 / 0'}\n", "division by zero"},
        {"k: ${eval:'1 // 0'}\n", "division by zero"},
        {"k: ${eval:'2 ** 100'}\n", "64 bits"},
        {"k: ${eval:'9223372036854775807 + 1'}\n", "64 bits"},
        {"k: ${eval:'(-8) ** 0.5'}\n", "root of a negative"},
        {"k: ${eval:'1 +'}\n", "expected a number"},
        {"k: ${eval:'1 2'}\n", "'2' is not arithmetic"},
        {"k: ${eval:'min(1)'}\n", "needs 2"},
        {"k: ${eval:'int(1e300)'}\n", "64 bits"},
        {"k: ${eval:'007'}\n", "not a number"},
        {"k: ${open\n", "not closed"},
        {"k: \"${}\"\n", "an empty interpolation"},
        {"k: ${...x}\n", "leads above the root"},
        {"k: ${a..b}\na: {b: 1}\n", "is not a key"},
        {"k: x${m}\nm: {a: 1}\n", "a list or map cannot stand inside text"},
        {"k: ${now:}\n", "not a time format"},
        {"\"k\\n\": |\n  ${none}\n  \\e[0m\n", "k : '${none} "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_config *root = parsed(cases[i][0]);
        if (dppo_config_resolve(root) == DPPO_OK) fail_msg("'%s' was resolved", cases[i][0]);
        assert_message(cases[i][1]);
        assert_message("t.yaml:");
        dppo_config_free(root);
    }
}

/* Each line doubles the one before: 2^40 copies of a byte, or of a node. */
static void test_expansion_is_bounded(void **unused) {
    (void)unused;
    for (int list = 0; list < 2; list++) {
        dppo_text text = {0};
        dppo_text_add(&text, "a0: xxxxxxxx\n");
        for (int i = 1; i < 40; i++)
            dppo_text_format(&text, list ? "a%d: [\"${a%d}\", \"${a%d}\"]\n" : "a%d: ${a%d}${a%d}\n", i,
                             i - 1, i - 1);
        dppo_config *root = parsed(text.bytes);
        assert_int_equal(dppo_config_resolve(root), DPPO_INVALID);
        assert_message("too much");
        dppo_config_free(root);
        dppo_text_free(&text);
    }
}

static void test_overrides(void **unused) {
    (void)unused;
    dppo_config *root = parsed("train: {lr: 1e-4, n: 5}\nmodel: {dims: [1, 2]}\nseed: 42\n");
    static const char *const assignments[] = {"train.lr=1e-3", "+train.extra.deep=[1, a]",
                                              "~train.n",      "model.dims.1=${seed}",
                                              "seed='7'",      "++seed=8",
                                              "+note=a b"};
    for (size_t i = 0; i < sizeof assignments / sizeof *assignments; i++)
        if (dppo_config_override(root, assignments[i]) != DPPO_OK) fail_msg("%s", dppo_message());
    assert_int_equal(dppo_config_resolve(root), DPPO_OK);
    assert_json(root, "{\"train\": {\"lr\": 0.001, \"extra\": {\"deep\": [1, \"a\"]}}, "
                      "\"model\": {\"dims\": [1, 8]}, \"seed\": 8, \"note\": \"a b\"}");
    static const char *const bad[][2] = {{"train.lrr=1", "'train.lrr'"},
                                         {"seed", "key=value"},
                                         {"=1", "key=value"},
                                         {"~none", "'none'"},
                                         {"+seed.x=1", "'x'"},
                                         {"seed=[", "seed=["},
                                         {"+a..b=1", "not a key"},
                                         {"~", "cannot remove"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(dppo_config_override(root, bad[i][0]), DPPO_OK);
        assert_message(bad[i][1]);
    }
    dppo_config_free(root);
}

static void test_typed_getters(void **unused) {
    (void)unused;
    dppo_config *root =
        parsed("m:\n  i: 3\n  f: 0.5\n  s: '1'\n  b: true\n  n: null\n  l: [1, 2, 3]\n  x: [1, 2.5]\n"
               "  _target_: a.b.Net\n");
    int64_t i, values[3];
    double f;
    bool b;
    const char *s;
    size_t count;
    assert_int_equal(dppo_config_float(root, "m.i", &f), DPPO_OK);
    assert_true(f == 3.0);
    assert_int_equal(dppo_config_int(root, "m.f", &i), DPPO_INVALID);
    assert_string_equal(dppo_message(), "t.yaml:3: m.f: must be an int, is 0.5");
    assert_int_equal(dppo_config_int(root, "m.s", &i), DPPO_INVALID);
    assert_message("m.s: must be an int, is \"1\"");
    assert_int_equal(dppo_config_bool(root, "m.i", &b), DPPO_INVALID);
    assert_int_equal(dppo_config_string(dppo_config_get(root, "m"), "none", &s), DPPO_INVALID);
    assert_string_equal(dppo_message(), "t.yaml:2: m: 'none' is missing (a string)");
    assert_int_equal(dppo_config_int_or(root, "m.n", 9, &i), DPPO_OK);
    assert_int_equal(i, 9);
    assert_int_equal(dppo_config_float_or(root, "m.s", 1, &f), DPPO_INVALID);
    assert_int_equal(dppo_config_bool_or(NULL, "m.q", true, &b), DPPO_OK);
    assert_true(b);
    assert_int_equal(dppo_config_ints(root, "m.l", values, 3, &count), DPPO_OK);
    assert_int_equal(count, 3);
    assert_int_equal(values[2], 3);
    assert_int_equal(dppo_config_ints(root, "m.l", values, 2, &count), DPPO_INVALID);
    assert_int_equal(dppo_config_ints(root, "m.x", values, 3, &count), DPPO_INVALID);
    assert_message("m.x.1: must be an int, is 2.5");
    assert_int_equal(dppo_config_ints(root, "m.none", values, 3, &count), DPPO_OK);
    assert_int_equal(count, 0);
    assert_string_equal(dppo_config_target(dppo_config_get(root, "m")), "Net");
    static const char *const some[] = {"i", "f", "s", "b", "n", "l", NULL};
    assert_int_equal(dppo_config_allow(dppo_config_get(root, "m"), "Net", some), DPPO_INVALID);
    assert_string_equal(dppo_message(), "t.yaml:8: m.x: Net has no 'x'");
    dppo_config_free(root);
}

/* Strings that would read as something else, or break a line, must come back as they were. */
static void test_round_trip(void **unused) {
    (void)unused;
    const char *json =
        "{\"plain\": \"a/b.c\", \"quoted\": [\"1\", \"true\", \"null\", \"\", \" x\", \"a: b\", \"#c\", "
        "\"- d\", \"{e}\", \"1e-3\", \"~\", \"a\\nb\", \"\\\"\\\\\", \"\\u0001\\u2028\\ufeff\", \"---\", "
        "\"...\", \"1:30\", \"cuda:0\", \"x:\", \"0x1\", \".5\", \"=\", \"<<\", \"\xc3\xa9\"], "
        "\"numbers\": [1, -0.0, 1e-05, 1e+22, 0.1, 1e+300, 5e-324, 1.7976931348623157e+308, NaN, "
        "-Infinity], \"deep\": [[1, [2, {\"k\": []}]], {}], \"1\": null, \"a b\": true, \"<<\": 3}";
    dppo_config *root = NULL, *again = NULL;
    dppo_text yaml = {0};
    if (dppo_config_parse_json(json, "t.json", &root) != DPPO_OK) fail_msg("%s", dppo_message());
    assert_json(root, json);
    dppo_config_write_yaml(root, &yaml);
    if (dppo_config_parse_yaml(yaml.bytes, "again.yaml", &again) != DPPO_OK) fail_msg("%s", dppo_message());
    assert_json(again, json);
    dppo_config_free(again);
    assert_non_null(strstr(yaml.bytes, "1.0e-05")); /* plain YAML 1.1 takes 1e-05 for a string */
    dppo_config *copy = dppo_config_copy(root);
    dppo_config_free(root);
    assert_json(copy, json);
    dppo_config_free(copy);
    dppo_text_free(&yaml);
}

static void test_setters(void **unused) {
    (void)unused;
    dppo_config *root = dppo_config_new_map();
    assert_int_equal(dppo_config_set_int(root, "a.b", 1), DPPO_OK);
    assert_int_equal(dppo_config_set_float(root, "a.c", 0.25), DPPO_OK);
    assert_int_equal(dppo_config_set_string(root, "a.b", "x"), DPPO_OK);
    assert_int_equal(dppo_config_set_int(root, "a.c.d", 1), DPPO_INVALID);
    assert_json(root, "{\"a\": {\"b\": \"x\", \"c\": 0.25}}");
    dppo_config_free(root);
}

/* The four configurations of this project's experiments, with values only the whole path gives. */
static void test_project_files(void **unused) {
    (void)unused;
    static const struct {
        const char *file, *target, *name;
        int64_t cond_dim;
        const char *cond_path;
    } cases[] = {
        {"pre_diffusion_mlp", "TrainDiffusionAgent", "hopper-medium-v2_pre_diffusion_mlp_ta4_td20", 11,
         "model.network.cond_dim"},
        {"ft_ppo_diffusion_mlp", "TrainPPODiffusionAgent",
         "hopper-medium-v2_ppo_diffusion_mlp_ta4_td20_tdf10", 11, "model.critic.cond_dim"},
        {"ppo_gaussian_mlp", "TrainPPOGaussianAgent", "hopper-medium-v2_nopre_ppo_gaussian_mlp_ta1", 22,
         "model.actor.cond_dim"},
        {"eval_diffusion_mlp", "EvalDiffusionAgent", "hopper-medium-v2_eval_diffusion_mlp_ta4_td20", 11,
         "model.network.cond_dim"},
    };
    setenv("DPPO_LOG_DIR", "/log", 1);
    setenv("DPPO_DATA_DIR", "/data", 1);
    setenv("DPPO_WANDB_ENTITY", "me", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/configs/%s.yaml", FIXTURES, cases[i].file);
        dppo_config *root = NULL;
        const char *name, *folder;
        int64_t cond_dim;
        if (dppo_config_load(path, &root) != DPPO_OK) fail_msg("%s", dppo_message());
        if (i == 2) assert_int_equal(dppo_config_override(root, "cond_steps=2"), DPPO_OK);
        if (dppo_config_resolve(root) != DPPO_OK) fail_msg("%s", dppo_message());
        assert_string_equal(dppo_config_target(root), cases[i].target);
        assert_int_equal(dppo_config_string(root, "name", &name), DPPO_OK);
        assert_string_equal(name, cases[i].name);
        assert_int_equal(dppo_config_int(root, cases[i].cond_path, &cond_dim), DPPO_OK);
        assert_int_equal(cond_dim, cases[i].cond_dim);
        assert_int_equal(dppo_config_string(root, "hydra.run.dir", &folder), DPPO_OK);
        assert_true(strncmp(folder, "/log/gym-", 9) == 0);
        dppo_config_free(root);
    }
    dppo_config *root;
    assert_int_equal(dppo_config_load("/nonexistent/x.yaml", &root), DPPO_IO);
    assert_message("/nonexistent/x.yaml");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_structures),
        cmocka_unit_test(test_refused_yaml),
        cmocka_unit_test(test_alias_bomb),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_interpolation),
        cmocka_unit_test(test_now_is_one_moment),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_refused_interpolation),
        cmocka_unit_test(test_expansion_is_bounded),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_typed_getters),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_setters),
        cmocka_unit_test(test_project_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
