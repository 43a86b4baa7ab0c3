/* test_model.c - long random histories against a reference: whatever is done to the store in
 * whatever order, with whatever options, on a disk that fails and loses power, it answers as the
 * model does; and under other options it answers the same. The histories are play.h's.
 *
 *     MODEL_STEPS=n      so many steps for each history, and so many in all for the long ones
 *     MODEL_SECONDS=n    the long ones go on for so long
 *     TEST_SEED=n        the same histories again
 *     MODEL_SEED=n MODEL_SET=n MODEL_STEPS=n MODEL_KEEP=3,7-9    one history, these steps of it
 *
 * The store has threads of its own, so a history that failed once need not fail each time. */
#include "play.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LONG_STEPS 4000 /* of one history; then the next begins */
#define PAIR_STEPS 250  /* of one that is played under all options */
#define SHRINK_PLAYS 150

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

/* The steps that are kept, as MODEL_KEEP takes them: "3,7-9". */
static void print_kept(const struct play_config *config, const bool *dropped)
{
    const char *between = "";

    printf("# repeat with MODEL_SEED=%" PRIu64 " MODEL_SET=%u MODEL_STEPS=%u MODEL_KEEP=",
           config->seed, config->set, config->steps);
    for (unsigned n = 1; n <= config->steps; n++) {
        unsigned first = n;

        if (dropped[n])
            continue;
        while (n < config->steps && !dropped[n + 1])
            n++;
        printf("%s%u", between, first);
        if (n > first)
            printf("-%u", n);
        between = ",";
    }
    printf(" test_model one_history\n");
}

/* Tell of a failure, then look for a shorter history that fails. */
static void tell(const struct play_config *config, const struct play_result *r)
{
    struct play_config upto = *config;
    struct play_result shorter;
    bool *dropped;
    unsigned left;

    tap_fail(__FILE__, __LINE__,
             "step %u: %s\n# repeat with MODEL_SEED=%" PRIu64
             " MODEL_SET=%u MODEL_STEPS=%u test_model one_history",
             r->step, r->why, config->seed, config->set, r->step);
    upto.steps = r->step;
    dropped = calloc(upto.steps + 1, sizeof(*dropped));
    if (dropped == NULL || config->dropped != NULL)
        return;
    shorter = *r;
    left = play_shrink(&upto, dropped, SHRINK_PLAYS, &shorter);
    if (left < upto.steps) {
        tap_note("%u steps do too: step %u: %s", left, shorter.step, shorter.why);
        print_kept(&upto, dropped);
    }
    free(dropped);
}

static bool play_one(uint64_t seed, unsigned set, unsigned steps, struct play_result *r)
{
    struct play_config config = {.seed = seed, .set = set, .steps = steps};

    play(&config, r);
    if (r->failed)
        tell(&config, r);
    return !r->failed;
}

/* All but the steps of a list like "3,7-9" are dropped. */
static bool *read_kept(const char *list, unsigned steps)
{
    bool *dropped = calloc(steps + 1, sizeof(*dropped));

    if (dropped == NULL || list == NULL)
        return dropped;
    memset(dropped, true, steps + 1);
    while (*list != '\0') {
        char *end;
        unsigned long from = strtoul(list, &end, 10), to = from;

        if (*end == '-')
            to = strtoul(end + 1, &end, 10);
        for (; from <= to && from <= steps; from++)
            dropped[from] = false;
        list = *end == ',' ? end + 1 : "";
    }
    return dropped;
}

/* Only when it is asked for: what a failure printed. */
TEST(one_history_is_repeated)
{
    struct play_config config = {.seed = number("MODEL_SEED", 0),
                                 .set = (unsigned)number("MODEL_SET", 0),
                                 .steps = (unsigned)number("MODEL_STEPS", LONG_STEPS)};
    struct play_result r;
    bool *dropped;

    if (getenv("MODEL_SEED") == NULL)
        return;
    dropped = read_kept(getenv("MODEL_KEEP"), config.steps);
    config.dropped = dropped;
    play(&config, &r);
    free(dropped);
    tap_note("%u steps, %u crashes, answers %016" PRIx64, r.step, r.crashes, r.answers);
    if (r.failed)
        tap_fail(__FILE__, __LINE__, "step %u: %s", r.step, r.why);
}

/* Under each set of options by turns, and under sets drawn at random. */
TEST(a_long_random_history_is_answered_as_the_model_answers)
{
    uint64_t seed = tap_seed(), seconds = number("MODEL_SECONDS", 0);
    uint64_t steps = number("MODEL_STEPS", LONG_STEPS), done = 0;
    unsigned crashes = 0, faults = 0;
    time_t end = time(NULL) + (time_t)seconds;

    for (uint64_t k = 0; done < steps || time(NULL) < end; k++) {
        uint64_t left = done < steps ? steps - done : LONG_STEPS;
        struct play_result r;

        if (!play_one(seed + k, (unsigned)((seed + k) % (3 * (uint64_t)PLAY_SETS)),
                      (unsigned)(left < LONG_STEPS ? left : LONG_STEPS), &r))
            break;
        done += r.step;
        crashes += r.crashes;
        faults += r.faults;
    }
    tap_note("stress: model steps %" PRIu64 ", model crashes %u, model faults %u", done, crashes,
             faults);
}

TEST(the_same_history_is_answered_the_same_under_all_options)
{
    uint64_t seed = tap_seed(), steps = number("MODEL_STEPS", 0), done = 0;
    uint64_t rounds = 1 + steps / PAIR_STEPS / PLAY_SETS;

    for (uint64_t k = 0; k < rounds; k++) {
        struct play_result first, r;

        for (unsigned set = 0; set < PLAY_SETS; set++) {
            if (!play_one(seed + 1000 * k, set, PAIR_STEPS, &r))
                return;
            done += r.step;
            if (set == 0)
                first = r;
            if (r.answers == first.answers)
                continue;
            tap_fail(__FILE__, __LINE__,
                     "the same %u steps are answered in two ways\n"
                     "# compare MODEL_SEED=%" PRIu64
                     " MODEL_STEPS=%u with MODEL_SET=0 and MODEL_SET=%u",
                     PAIR_STEPS, seed + 1000 * k, PAIR_STEPS, set);
            return;
        }
    }
    tap_note("stress: model steps %" PRIu64 ", model pairs %" PRIu64, done,
             rounds * (PLAY_SETS - 1));
}
