/* Counts, and prints them as lines of JSON that run.py reads. */
#include "tally.h"

#include <inttypes.h>
#include <string.h>

static const char *const verdict_names[] = {"ok",        "refused", "reset",   "eof",
                                            "truncated", "wrong",   "timeout", "unanswered"};
static const char *const remark_names[] = {"connections", "closed_idle", "reset_idle",
                                           "reset_after", "not_ended",   "queue_full",
                                           "out_of_ports"};
static const char *const kind_names[] = {"close", "keepalive", "pipeline", "upload"};
static const char *const via_names[] = {"tcp", "unix"};

/* 16 buckets an octave: a value is known to 6 %. */
static size_t
bucket_of(uint64_t ns)
{
    if (ns < 16)
        return (size_t)ns;
    unsigned octave = 63U - (unsigned)__builtin_clzll(ns);
    size_t bucket = (size_t)(octave - 3) * 16 + (size_t)(ns >> (octave - 4) & 15);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The upper bound of a bucket. */
static uint64_t
bucket_end(size_t bucket)
{
    if (bucket < 16)
        return bucket + 1;
    size_t octave = bucket / 16 + 3;
    return ((uint64_t)(bucket % 16) + 17) << (octave - 4);
}

static void
add(struct histogram *histogram, uint64_t ns)
{
    histogram->count[bucket_of(ns)]++;
    histogram->total++;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

static double
quantile_ms(const struct histogram *histogram, double part)
{
    uint64_t wanted = (uint64_t)((double)histogram->total * part), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram->count[i];
        if (seen > wanted)
            return (double)bucket_end(i) / 1e6;
    }
    return (double)histogram->max_ns / 1e6;
}

static void
note_pid(struct tally *tally, unsigned pid)
{
    if (pid == 0 || tally->pids_len > PIDS / 2)
        return;
    size_t i = pid % PIDS;
    while (tally->pids[i] != 0 && tally->pids[i] != pid)
        i = (i + 1) % PIDS;
    tally->pids_len += tally->pids[i] == 0;
    tally->pids[i] = pid;
}

void
tally_ok(struct tally *tally, enum kind kind, enum via via, uint64_t sent_ns, uint64_t now_ns,
         unsigned pid)
{
    tally->verdicts[kind][via][V_OK]++;
    tally->done++;
    add(tally->is_busy ? &tally->busy : &tally->quiet, now_ns - sent_ns);
    if (tally->last_ok_ns != 0 && now_ns - tally->last_ok_ns > tally->gap_ns)
        tally->gap_ns = now_ns - tally->last_ok_ns;
    tally->last_ok_ns = now_ns;
    note_pid(tally, pid);
}

void
tally_failed(struct tally *tally, const struct failure *f)
{
    tally->verdicts[f->kind][f->via][f->verdict]++;
    tally->done++;
    tally->failed++;
    if (tally->lines++ >= 10000)
        return;
    printf("{\"event\": \"failed\", \"verdict\": \"%s\", \"kind\": \"%s\", \"via\": \"%s\", "
           "\"conn\": %" PRIu64 ", \"seq\": %" PRIu64 ", \"sent\": %zu, \"opened_ns\": %" PRIu64
           ", \"sent_ns\": %" PRIu64 ", \"now_ns\": %" PRIu64
           ", \"local\": \"%s\", \"inode\": %" PRIu64
           ", \"pid\": %u, \"why\": \"%s\", \"error\": \"%s\"}\n",
           verdict_names[f->verdict], kind_names[f->kind], via_names[f->via], f->conn, f->seq,
           f->sent, f->opened_ns, f->sent_ns, f->now_ns, f->local, f->inode, f->pid, f->why,
           f->err != 0 ? strerror(f->err) : "");
    fflush(stdout);
}

static void
print_histogram(const char *name, const struct histogram *histogram)
{
    printf(", \"%s\": {\"requests\": %" PRIu64
           ", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f}",
           name, histogram->total, quantile_ms(histogram, 0.5), quantile_ms(histogram, 0.99),
           quantile_ms(histogram, 0.999), (double)histogram->max_ns / 1e6);
}

void
tally_report(const struct tally *tally, uint64_t elapsed_ns)
{
    printf("{\"event\": \"report\", \"done\": %" PRIu64 ", \"failed\": %" PRIu64
           ", \"seconds\": %.3f, \"worst_gap_ms\": %.3f, \"pids\": %zu, \"verdicts\": {",
           tally->done, tally->failed, (double)elapsed_ns / 1e9, (double)tally->gap_ns / 1e6,
           tally->pids_len);
    for (int kind = 0; kind < KINDS; kind++)
        for (int via = 0; via < VIAS; via++) {
            printf("%s\"%s %s\": {", kind + via > 0 ? ", " : "", kind_names[kind], via_names[via]);
            for (int verdict = 0; verdict < VERDICTS; verdict++)
                printf("%s\"%s\": %" PRIu64, verdict > 0 ? ", " : "", verdict_names[verdict],
                       tally->verdicts[kind][via][verdict]);
            printf("}");
        }
    printf("}, \"remarks\": {");
    for (int remark = 0; remark < REMARKS; remark++)
        printf("%s\"%s\": %" PRIu64, remark > 0 ? ", " : "", remark_names[remark],
               tally->remarks[remark]);
    printf("}");
    print_histogram("quiet", &tally->quiet);
    print_histogram("busy", &tally->busy);
    printf("}\n");
    fflush(stdout);
}
