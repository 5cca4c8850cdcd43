/* A seeded world around the plan: children that boot, serve, hang, die and obey or not; signals,
 * failed forks and broken reloads in any order. After every step it checks what must always hold.
 */
#ifndef SAOLA_TEST_SIM_H
#define SAOLA_TEST_SIM_H

#include <stdbool.h>

/* Runs one seed with one rule of the plan broken (0: none). Returns NULL, or what was violated (a
 * static string). trace: prints every event and action. */
const char *sim_run(unsigned long seed, int mutant, bool trace);

#endif
