/* dppo report: the page of a run folder, again. */
#include "cli/cli.h"
#include "report/report.h"

#include <stdio.h>

static int run(int argc, char **argv) {
    if (argc < 2 || argv[1][0] == '-') {
        (void)fputs(dppo_verb_report.usage, stderr);
        return DPPO_EXIT_USAGE;
    }
    for (int i = 1; i < argc; i++) {
        if (dppo_report_run(argv[i]) != DPPO_OK) return dppo_cli_error();
        (void)printf("%s/report/index.html\n", argv[i]);
    }
    return DPPO_EXIT_OK;
}

const dppo_verb dppo_verb_report = {
    .name = "report",
    .summary = "write the page of a run folder",
    .usage =
        "usage: dppo report RUN_FOLDER..\n\n"
        "Writes RUN_FOLDER/report/index.html, one file that needs no network, from what a run left there:\n"
        "config.yaml, metrics.csv and, where they are, run.yaml, teacher_forced.csv and parity.csv (of\n"
        "`dppo parity run --csv`). `dppo train` and `dppo pretrain` do this at their end.\n",
    .run = run,
};
