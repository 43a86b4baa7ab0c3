/* options_priv.h - what the files of the options share: the table's rows. */
#ifndef SERVER_OPTIONS_PRIV_H
#define SERVER_OPTIONS_PRIV_H

#include "server/options/options.h"

enum option_kind {
    OPTION_TEXT,   /* const char * */
    OPTION_LIST,   /* struct option_list: commas stand between its members */
    OPTION_SWITCH, /* bool */
    OPTION_NUMBER, /* _Atomic uint32_t */
    OPTION_SIZE,   /* _Atomic uint64_t: bytes */
    OPTION_TIME,   /* _Atomic uint64_t: milliseconds */
    OPTION_BRIEF,  /* _Atomic int64_t: microseconds; -1: off */
    OPTION_CHOICE, /* _Atomic uint32_t: which of `words` */
    OPTION_DURABILITY,
    OPTION_ACTION, /* enum option_action; on the command line alone */
};

enum option_group {
    GROUP_STORE,
    GROUP_DOOR,
    GROUP_ACCESS,
    GROUP_LOGS,
    GROUP_ITSELF,
    OPTION_GROUPS,
};

struct option_row {
    const char *name;
    const char *value; /* what stands for its value in --help; NULL: there is none */
    enum option_kind kind;
    enum option_group group;
    size_t at;           /* where in struct server_options */
    uint64_t min, max;   /* of a list: max members; of an action: which */
    const char *words;   /* of a choice: "tail|strict"; of a list: what empties it, or NULL */
    const char *initial; /* the default, as anybody would write it; NULL: none */
    const char *wanted;  /* "must be ..." */
    const char *help;    /* lines; {} stands for the default */
    bool (*fits)(const char *member); /* of a list; NULL: whatever it is */
    bool not_in_the_file;             /* though the environment may have it */
    bool changes;                     /* it may change while the server runs: config.h */
    bool is_share;                    /* of a size: "25%" of the machine's memory too */
};

extern const struct option_row option_rows[];
extern const unsigned option_row_count;

/* NULL: there is none. */
const struct option_row *option_named(const char *name);
/* The option that was perhaps meant, or NULL. */
const struct option_row *option_near(const char *typed);

/* "QUERN_MAX_VALUE"; `to` is returned. */
#define OPTION_NAME_BYTES 64
const char *option_environment_name(const struct option_row *row, char to[OPTION_NAME_BYTES]);

/* Give an option a value. NULL when it is well, else what its value ought to be. */
const char *option_take(struct server_options *o, const struct option_row *row, const char *text,
                        enum option_source source, unsigned line);

/* Read the file that --config names, all of it; false: it is wrong, all that is was said. */
bool options_read_file(struct server_options *o, const struct options_world *world);

void options_print_help(void);
void options_print_table(void); /* of docs/operations.md */
void options_print_config(const struct server_options *o);

#endif
