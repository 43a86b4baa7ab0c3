/* help.c - the words of `quern --help` and `quern VERB --help`. */
#include "cli/cli_priv.h"

static const char overview[] =
    "quern - look into a quern store, change it, care for it\n"
    "\n"
    "    quern [--db DIR | --url URL] VERB [WORDS] [OPTIONS]\n"
    "\n"
    "One entry\n"
    "    get KEY             write the value to standard output, byte for byte\n"
    "    set KEY VALUE       store it; VALUE may be - (standard input) or @FILE\n"
    "    del KEY             remove it\n"
    "Many entries\n"
    "    del --prefix P      remove all keys of a range, in one step\n"
    "    scan                list entries in key order\n"
    "    count               tell how many there are\n"
    "    dump [FILE]         write all as JSON lines, sealed by a checksum\n"
    "    load [FILE]         read such lines back\n"
    "Care\n"
    "    stats               what the store holds and has done\n"
    "    verify              read every byte and check every checksum\n"
    "    repair FROM TO      copy what is sound of a damaged store into a new one\n"
    "    compact             merge everything into one sorted run\n"
    "    checkpoint DIR      a copy in moments, by hard links\n"
    "    token create FILE NAME, token list FILE, token revoke FILE NAME\n"
    "                        the tokens of a server, for its --token-file\n"
    "\n"
    "Where the store is\n"
    "    --db DIR            the directory; no other process may have it open\n"
    "    --url URL           a running quernd, such as http://127.0.0.1:8080 or\n"
    "                        unix:/run/quern/http.sock (all but repair, checkpoint, token)\n"
    "    --token-file FILE   show the server the token in FILE, which nobody else may read;\n"
    "                        without it QUERN_TOKEN from the environment\n"
    "    --cacert FILE       for an https:// URL: the CA to trust instead of the system's\n"
    "    --cert FILE         so too: the certificate to show, and its key, in one file\n"
    "    Without either: QUERN_URL from the environment, else QUERN_DB, else ./data\n"
    "\n"
    "For every verb\n"
    "    --database N        0 to 15, for verbs of keys and for compact (0)\n"
    "    --json              answer in JSON\n"
    "    --help, -h          help of the verb\n"
    "    --version, -V       version of the program\n"
    "    --                  what follows is no option: quern get -- -key\n"
    "\n"
    "Exit codes\n"
    "    0    done\n"
    "    1    not found\n"
    "    2    the command line is wrong\n"
    "    3    cannot connect to the server, or cannot open the store\n"
    "    4    a write was refused, or the server or the disk failed\n"
    "    5    (reserved: a precondition failed)\n"
    "    6    damage was found, in the store or in a dump; repair: something is lost\n"
    "    130  interrupted\n"
    "\n"
    "    quern set fruit apple && quern get fruit\n"
    "    quern scan --prefix user/ --limit 10\n"
    "    quern dump | gzip > backup.gz;  zcat backup.gz | quern --db other load\n";

static const char range_help[] =
    "    --prefix P          only keys that begin with P\n"
    "    --start K           from K on (inclusive)\n"
    "    --end K             up to K (exclusive)\n"
    "    --hex               keys and prefixes are written in hex: 00ff\n";

static const char get_help[] =
    "quern get KEY - write the value of KEY to standard output\n"
    "\n"
    "The bytes are written as they are; only on a terminal a newline is added.\n"
    "Exit code 1 when there is no such key.\n"
    "\n"
    "    --hex               KEY is written in hex: 00ff\n"
    "    --json              {\"key\":...,\"value\":...}; bytes that are no UTF-8 appear as\n"
    "                        key_b64 and value_b64, in base64\n"
    "    --read-only         with --db: write nothing, not even a lock file\n"
    "\n"
    "    quern get photo > photo.jpg\n";

static const char set_help[] =
    "quern set KEY VALUE - store VALUE under KEY, replacing what was there\n"
    "\n"
    "VALUE is taken as it stands, or is - for standard input, or @FILE for the bytes of a file.\n"
    "(A value that itself is - or begins with @ comes through standard input.)\n"
    "\n"
    "    --sync              return when it survives loss of power; a directory is in any case\n"
    "                        synced before the command ends, a server follows its own level\n"
    "    --ttl TIME          it expires after that: 90, 90s, 1500ms, 15m, 12h, 30d (never)\n"
    "    --hex               KEY is written in hex: 00ff\n"
    "\n"
    "    quern set photo @photo.jpg\n";

static const char del_help[] =
    "quern del KEY - remove KEY\n"
    "quern del --prefix P | --start K --end K | --all - remove every key of a range\n"
    "\n"
    "Exit code 1 when there is no such KEY. A range is removed in one step, however much it "
    "holds,\n"
    "whether or not there is anything in it. Its space comes back by and by, or by quern compact.\n"
    "\n";
static const char del_more_help[] =
    "    --all               every key of the database: without bounds nothing is removed\n"
    "    --sync              return when it survives loss of power; a directory is in any case\n"
    "                        synced before the command ends\n"
    "\n"
    "    quern del --prefix session/\n";

static const char scan_help[] =
    "quern scan - list entries in key order: KEY, a tab, VALUE, one line each\n"
    "\n"
    "Control characters, backslashes and bytes that are no UTF-8 are shown as \\xNN, so that a "
    "line\n"
    "stays a line. For exact bytes take --json or -0.\n"
    "\n";
static const char scan_more_help[] =
    "    --limit N           stop after N entries\n"
    "    --reverse           from the last key down\n"
    "    --keys-only         leave the values out\n"
    "    -0, --null          raw bytes, each key and each value ended by a zero byte\n"
    "    --json              {\"key\":...,\"value\":...} a line, as dump writes them\n"
    "    --read-only         write nothing, not even a lock file\n"
    "\n"
    "    quern scan --prefix user/ --keys-only --limit 10\n";

static const char count_help[] = "quern count - tell how many keys there are, exactly\n"
                                 "\n";
static const char count_more_help[] =
    "    --json              {\"count\":N}\n"
    "    --read-only         write nothing, not even a lock file\n";

static const char stats_help[] =
    "quern stats - what the store holds and has done since it was opened\n"
    "\n"
    "    --json              one JSON object\n"
    "    --read-only         with --db: write nothing, not even a lock file\n";

static const char verify_help[] =
    "quern verify - read every byte of the store and check every checksum\n"
    "\n"
    "Tables, log, manifest and CURRENT, whether or not the store can be opened. Each damaged "
    "place\n"
    "is one line: file, offset, what is wrong, and the keys that may be concerned. Exit code 6 "
    "when\n"
    "there was one. Nothing is written. A store that a process has open is refused (3).\n"
    "\n"
    "    --json              {\"ok\":...,\"tables\":...,\"damages\":[...]}\n"
    "    --read-only         accepted; it changes nothing here\n";

static const char repair_help[] =
    "quern repair FROM TO - copy all that is sound of the store FROM into the new store TO\n"
    "\n"
    "FROM is only read; it need not open, and any of its files may be damaged or gone. TO must be\n"
    "empty or missing, and opens only when it is complete. Each damaged place is one line: file,\n"
    "offset, what is wrong, and the keys that may be missing, or show an older value, because of "
    "it.\n"
    "\n"
    "Exit code 0 when nothing is lost, 6 when TO is complete and something is lost. With 3 or 4\n"
    "there is no store in TO.\n"
    "\n"
    "    --json              {\"ok\":...,\"entries\":...,\"losses\":...,\"damages\":[...]}\n"
    "\n"
    "    quern repair data data.new && mv data data.old && mv data.new data\n";

static const char compact_help[] =
    "quern compact - merge everything, or a range, into one sorted run\n"
    "\n"
    "What was overwritten or deleted gives its space back. A store does this by itself in time.\n"
    "With neither a range nor --database it is all databases.\n"
    "\n";
static const char compact_more_help[] =
    "    --database N        that database alone, or the range of it\n"
    "    --json              table bytes before and after\n";

static const char checkpoint_help[] =
    "quern checkpoint DIR - a copy of the store as of now in the new directory DIR\n"
    "\n"
    "Tables are hard links, so it takes moments and hardly any space; DIR must be on the same "
    "file\n"
    "system and must not exist. It opens like any store: quern --db DIR count\n";

static const char dump_help[] =
    "quern dump [FILE] - write all entries as JSON lines, one database after the other, in key\n"
    "order, as of one moment\n"
    "\n"
    "    {\"key\":\"a\",\"value\":\"1\"}\n"
    "    {\"key_b64\":\"/w==\",\"value\":\"\"}                     bytes that are no UTF-8, in "
    "base64\n"
    "    {\"key\":\"a\",\"value\":\"1\",\"database\":3}       of another database than 0\n"
    "    {\"end\":true,\"count\":2,\"xxh3\":\"0123456789abcdef\"}  the last line seals what is "
    "before\n"
    "\n"
    "To standard output, or to FILE, which gets its name only when it is whole and on disk.\n"
    "A FILE that is a device or a pipe is written to as it stands.\n"
    "\n";
static const char dump_more_help[] =
    "    --database N        that database alone\n"
    "    --read-only         write nothing to the store, not even a lock file\n"
    "\n"
    "    quern dump | gzip > backup.gz\n";

static const char load_help[] =
    "quern load [FILE] - read the lines of a dump into the store\n"
    "\n"
    "From standard input, or from FILE. Entries replace what is there under the same key. A file\n"
    "that was cut short or changed is an error (exit code 6), after saying how many entries were\n"
    "loaded until then.\n"
    "\n"
    "    --database N        all into that database, whatever the lines say\n"
    "    --no-end            lines made by hand: do without the last line's count and checksum\n"
    "    --sync              sync after each batch of about 1000; in any case all is synced\n"
    "                        at the end\n"
    "    --json              {\"loaded\":N}\n"
    "\n"
    "    zcat backup.gz | quern --db other load\n";

static const char token_help[] =
    "quern token - the tokens that clients of a quernd must show (quernd --token-file FILE)\n"
    "\n"
    "    token create FILE NAME   make a token, add its hash to FILE (made if missing), print it.\n"
    "                             It is kept nowhere: this is the only time it is seen\n"
    "    token list FILE          name, scopes, expiry and keys of each\n"
    "    token revoke FILE NAME   take it out\n"
    "\n"
    "A running server reads FILE again by itself within some seconds, and at SIGHUP.\n"
    "\n"
    "    --scopes LIST       read, write and admin, with commas (read)\n"
    "    --prefix P          only keys that begin with P; the file may list several\n"
    "    --hex               P is written in hex: 00ff\n"
    "    --expires WHEN      90d, 12h, or a date as 2027-01-31 (never)\n"
    "    --json              one JSON object, or one a token\n"
    "\n"
    "    quern token create /etc/quern/tokens app --scopes read,write --prefix app/\n";

void help_print(enum cli_verb verb, FILE *to)
{
    const char *before = overview, *after = "";

    switch (verb) {
    case VERB_NONE:
        break;
    case VERB_GET:
        before = get_help;
        break;
    case VERB_SET:
        before = set_help;
        break;
    case VERB_DEL:
        before = del_help;
        after = del_more_help;
        break;
    case VERB_SCAN:
        before = scan_help;
        after = scan_more_help;
        break;
    case VERB_COUNT:
        before = count_help;
        after = count_more_help;
        break;
    case VERB_STATS:
        before = stats_help;
        break;
    case VERB_VERIFY:
        before = verify_help;
        break;
    case VERB_REPAIR:
        before = repair_help;
        break;
    case VERB_COMPACT:
        before = compact_help;
        after = compact_more_help;
        break;
    case VERB_CHECKPOINT:
        before = checkpoint_help;
        break;
    case VERB_DUMP:
        before = dump_help;
        after = dump_more_help;
        break;
    case VERB_LOAD:
        before = load_help;
        break;
    case VERB_TOKEN:
        before = token_help;
        break;
    }
    (void)fputs(before, to);
    if (after[0] != '\0') {
        (void)fputs(range_help, to);
        (void)fputs(after, to);
    }
}
