/* The self-pipe when it is full: no kind of signal is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include <proc/signals.h>

/* fault: M19 */
static void
test_a_term_behind_a_storm_is_not_lost(void **state)
{
    (void)state;
    struct sl_signals signals = {.read_fd = -1, .write_fd = -1};
    struct sl_error err;
    assert_int_equal(sl_signals_open(&signals, &err), SL_OK);
    for (int i = 0; i < 200000; i++)
        sl_signals_note(SIGUSR1);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGHUP);
    kill(getpid(), SIGHUP);
    int number, terms = 0, hups = 0, usr1s = 0;
    while ((number = sl_signals_next(&signals)) != 0) {
        terms += number == SIGTERM;
        hups += number == SIGHUP;
        usr1s += number == SIGUSR1;
    }
    assert_int_equal(terms, 1);
    assert_int_equal(hups, 1);
    assert_in_range(usr1s, 2, 199999);
    sl_signals_note(SIGHUP); /* in its order again */
    sl_signals_note(SIGTERM);
    assert_int_equal(sl_signals_next(&signals), SIGHUP);
    assert_int_equal(sl_signals_next(&signals), SIGTERM);
    assert_int_equal(sl_signals_next(&signals), 0);
    sl_signals_close(&signals);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_term_behind_a_storm_is_not_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
