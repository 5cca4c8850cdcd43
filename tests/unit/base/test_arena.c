/* sl_arena: alignment, reuse after reset, pieces larger than a block, overflow. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <base/arena.h>

static void
test_pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct sl_arena arena;
    sl_arena_init(&arena, 256);
    char *pieces[100];
    for (size_t i = 0; i < 100; i++) {
        pieces[i] = sl_arena_alloc(&arena, i);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)i, i);
    }
    for (size_t i = 0; i < 100; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_equal(pieces[i][j], (char)i);
    sl_arena_release(&arena);
}

static void
test_reset_hands_out_the_same_block_again(void **state)
{
    (void)state;
    struct sl_arena arena;
    sl_arena_init(&arena, 1024);
    char *first = sl_arena_alloc(&arena, 100);
    sl_arena_alloc(&arena, 5000); /* its own block, freed by reset */
    sl_arena_reset(&arena);
    assert_ptr_equal(sl_arena_alloc(&arena, 100), first);
    sl_arena_release(&arena);
    sl_arena_release(NULL);
}

static void
test_a_large_piece_does_not_waste_the_current_block(void **state)
{
    (void)state;
    struct sl_arena arena;
    sl_arena_init(&arena, 1024);
    char *a = sl_arena_alloc(&arena, 16);
    char *large = sl_arena_alloc(&arena, 100000);
    memset(large, 'x', 100000);
    assert_ptr_equal(sl_arena_alloc(&arena, 16), a + 16);
    sl_arena_release(&arena);

    large = sl_arena_alloc(&arena, 100000); /* the very first piece */
    memset(large, 'x', 100000);
    assert_non_null(sl_arena_alloc(&arena, 16));
    sl_arena_reset(&arena);
    large = sl_arena_alloc(&arena, 100000);
    sl_arena_reset(&arena); /* a current block and a large one */
    assert_non_null(large);
    sl_arena_release(&arena);
}

static void
test_impossible_sizes_fail_and_leave_a_mark(void **state)
{
    (void)state;
    struct sl_arena arena;
    sl_arena_init(&arena, 1024);
    assert_null(sl_arena_alloc(&arena, SIZE_MAX));
    assert_true(arena.failed);
    sl_arena_reset(&arena);
    assert_false(arena.failed);
    assert_null(sl_arena_zalloc(&arena, SIZE_MAX / 2, 3));
    assert_true(arena.failed);
    assert_null(sl_arena_strndup(&arena, "", SIZE_MAX));
    assert_non_null(sl_arena_alloc(&arena, 0));
    sl_arena_release(&arena);
}

static void
test_copies_end_with_nul_and_zalloc_is_zero(void **state)
{
    (void)state;
    struct sl_arena arena;
    sl_arena_init(&arena, 64);
    memset(sl_arena_alloc(&arena, 64), 0xff, 64);
    sl_arena_reset(&arena);
    int *numbers = sl_arena_zalloc(&arena, 8, sizeof *numbers);
    for (int i = 0; i < 8; i++)
        assert_int_equal(numbers[i], 0);
    assert_string_equal(sl_arena_strndup(&arena, "hello world", 5), "hello");
    assert_string_equal(sl_arena_strndup(&arena, NULL, 0), "");
    sl_arena_release(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(test_reset_hands_out_the_same_block_again),
        cmocka_unit_test(test_a_large_piece_does_not_waste_the_current_block),
        cmocka_unit_test(test_impossible_sizes_fail_and_leave_a_mark),
        cmocka_unit_test(test_copies_end_with_nul_and_zalloc_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
