/* The plan in the simulator: many seeds hold every invariant, and every rule that is broken on
 * purpose is noticed.
 *
 * SIM_SEEDS=n runs n seeds instead of 20,000; SIM_SEED=n replays that one with a trace, and
 * SIM_MUTANT=m with rule m (enum rule) broken.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
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
    unsigned long seeds = number_from("SIM_SEEDS", 20000);
    for (unsigned long seed = 1; seed <= seeds; seed++) {
        const char *violation = sim_run(seed, RULE_NONE, false);
        if (violation != NULL)
            fail_msg("seed %lu: %s (replay: SIM_SEED=%lu)", seed, violation, seed);
    }
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

int
main(void)
{
    unsigned long seed = number_from("SIM_SEED", 0);
    if (seed != 0) {
        const char *violation = sim_run(seed, (int)number_from("SIM_MUTANT", 0), true);
        printf("seed %lu: %s\n", seed, violation == NULL ? "no violation" : violation);
        return violation != NULL;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_order_of_events_keeps_the_invariants),
        cmocka_unit_test(test_each_broken_rule_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
