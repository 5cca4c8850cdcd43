/* The plan in the simulator: many seeds hold every invariant, and every rule that is broken on
 * purpose is noticed.
 *
 * SIM_SEEDS=n runs n seeds instead of 100,000; SIM_SEED=n replays that one with a trace, and
 * SIM_MUTANT=m with rule m (enum rule) broken. With arguments FROM TO it only runs these seeds and
 * shows how far it is (`make simulate`).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <proc/plan_state.h>
#include "sim.h"

static unsigned long
number_from(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoul(text, NULL, 10);
}

static void
test_every_order_of_events_keeps_the_invariants(void **state)
{
    (void)state;
    unsigned long seeds = number_from("SIM_SEEDS", 100000);
    for (unsigned long seed = 1; seed <= seeds; seed++) {
        const char *violation = sim_run(seed, RULE_NONE, false);
        if (violation != NULL)
            fail_msg("seed %lu: %s (replay: SIM_SEED=%lu)", seed, violation, seed);
    }
}

/* Among millions these have found something: a sound plan that was judged too strictly, a worker of
 * a failed reload recycled for its memory, another one dismissed though nobody else was ready. They
 * say so as long as the simulator draws its events as it does today. */
static void
test_seeds_that_have_found_something(void **state)
{
    (void)state;
    static const unsigned long seeds[] = {935310, 5376721, 6327682};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
        assert_null(sim_run(seeds[i], RULE_NONE, false));
}

static void
test_each_broken_rule_is_noticed(void **state)
{
    (void)state;
    for (int mutant = RULE_NONE + 1; mutant < RULE_COUNT; mutant++) {
        unsigned long seed = 1;
        while (seed <= 3000 && sim_run(seed, mutant, false) == NULL)
            seed++;
        if (seed > 3000)
            fail_msg("broken rule %d went unnoticed in 3000 seeds", mutant);
    }
}

/* For millions of them: progress on a terminal, one line at the end. */
static int
run_range(unsigned long from, unsigned long to)
{
    bool terminal = isatty(STDERR_FILENO);
    for (unsigned long seed = from; seed <= to; seed++) {
        const char *violation = sim_run(seed, RULE_NONE, false);
        if (violation != NULL) {
            printf("seed %lu: %s (replay: SIM_SEED=%lu)\n", seed, violation, seed);
            return 1;
        }
        if (terminal && (seed - from + 1) % 50000 == 0)
            fprintf(stderr, "\r%lu of %lu sequences", seed - from + 1, to - from + 1);
    }
    printf("%s%lu sequences (seeds %lu to %lu): no invariant broken\n", terminal ? "\n" : "",
           to - from + 1, from, to);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 3)
        return run_range(strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10));
    unsigned long seed = number_from("SIM_SEED", 0);
    if (seed != 0) {
        const char *violation = sim_run(seed, (int)number_from("SIM_MUTANT", 0), true);
        printf("seed %lu: %s\n", seed, violation == NULL ? "no violation" : violation);
        return violation != NULL;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_order_of_events_keeps_the_invariants),
        cmocka_unit_test(test_seeds_that_have_found_something),
        cmocka_unit_test(test_each_broken_rule_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
