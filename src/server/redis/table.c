/* table.c - the commands. COMMAND and docs/resp.md are made from these rows, and nothing else
 * says how many arguments a command takes or which of them are keys.
 *
 * Arities, flags, keys and groups are those of Redis 7, where the command does the same; summaries
 * are what it does here. In the order of names. */
#include "server/redis/handlers.h"

#include <stdio.h>
#include <string.h>

static bool always_blind(const struct call *k)
{
    (void)k;
    return true;
}

/* name, arity, flags, first and last key, step, group, since, summary, where, blind, handler,
 * subcommands, parent */
#define ACL_ADMIN (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)
static const struct command acl_subs[] = {
    {"cat", -2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "What the scopes read, write and admin hold", HERE, 0, cmd_acl_cat, NULL, 0, "acl"},
    {"deluser", -3, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "Remove users, until the token file is read again", HERE, 0, cmd_acl_deluser, NULL, 0, "acl"},
    {"dryrun", -4, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "7.0.0",
     "What would come of a command of a user's", HERE, 0, cmd_acl_dryrun, NULL, 0, "acl"},
    {"genpass", -2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "Random hexadecimal digits", HERE, 0, cmd_acl_genpass, NULL, 0, "acl"},
    {"getuser", 3, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0", "What a user may do", HERE, 0,
     cmd_acl_getuser, NULL, 0, "acl"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "6.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "acl"},
    {"list", 2, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0", "What all users may do", HERE, 0,
     cmd_acl_list, NULL, 0, "acl"},
    {"load", 2, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0", "Read the token file again", WALK, 0,
     cmd_acl_load, NULL, 0, "acl"},
    {"log", -2, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "Who was refused over this protocol, newest first", HERE, 0, cmd_acl_log, NULL, 0, "acl"},
    {"save", 2, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "Not done: the server never writes the token file", HERE, 0, cmd_acl_save, NULL, 0, "acl"},
    {"setuser", -3, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "Make or change a user, until the token file is read again", HERE, 0, cmd_acl_setuser, NULL, 0,
     "acl"},
    {"users", 2, ACL_ADMIN, 0, 0, 0, GROUP_SERVER, "6.0.0", "The names of all users", HERE, 0,
     cmd_acl_users, NULL, 0, "acl"},
    {"whoami", 2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "6.0.0",
     "The name of the user", HERE, 0, cmd_acl_whoami, NULL, 0, "acl"},
};

static const struct command client_subs[] = {
    {"getname", 2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "2.6.9",
     "The name of the connection", HERE, 0, cmd_client_getname, NULL, 0, "client"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "5.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "client"},
    {"id", 2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "5.0.0",
     "The number of the connection", HERE, 0, cmd_client_id, NULL, 0, "client"},
    {"info", 2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "6.2.0",
     "What is known of the connection", HERE, 0, cmd_client_info, NULL, 0, "client"},
    {"kill", -3, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION,
     "2.4.0", "End connections: by address, or by ID, ADDR, LADDR, USER, TYPE", HERE, 0,
     cmd_client_kill, NULL, 0, "client"},
    {"list", -2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION,
     "2.4.0", "What is known of all connections", HERE, 0, cmd_client_list, NULL, 0, "client"},
    {"no-evict", 3, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION,
     "7.0.0", "Accepted: no client is ever evicted", HERE, 0, cmd_client_no_evict, NULL, 0,
     "client"},
    {"no-touch", 3, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "7.2.0",
     "Accepted: nobody keeps when a key was read", HERE, 0, cmd_client_no_touch, NULL, 0, "client"},
    {"pause", -3, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION,
     "3.0.0", "Let commands wait: all, or writes; HTTP goes on", HERE, 0, cmd_client_pause, NULL, 0,
     "client"},
    {"reply", 3, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_ALONE, 0, 0, 0, GROUP_CONNECTION,
     "3.2.0", "Send replies, or not, or not the next", HERE, 0, cmd_client_reply, NULL, 0,
     "client"},
    {"setinfo", 4, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "7.2.0",
     "Name the client's library or its version", HERE, 0, cmd_client_setinfo, NULL, 0, "client"},
    {"setname", 3, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "2.6.9",
     "Name the connection", HERE, 0, cmd_client_setname, NULL, 0, "client"},
    {"tracking", -3, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION, "6.0.0",
     "Accepted: nothing is ever invalidated", HERE, 0, cmd_client_tracking, NULL, 0, "client"},
    {"unpause", 2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_CONNECTION,
     "6.2.0", "Let commands go on", HERE, 0, cmd_client_unpause, NULL, 0, "client"},
};

static const struct command command_subs[] = {
    {"count", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.8.13",
     "How many commands there are", HERE, 0, cmd_command_count, NULL, 0, "command"},
    {"docs", -2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "7.0.0", "What commands are for",
     HERE, 0, cmd_command_docs, NULL, 0, "command"},
    {"getkeys", -4, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.8.13",
     "Which arguments of a call are keys", HERE, 0, cmd_command_getkeys, NULL, 0, "command"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "5.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "command"},
    {"info", -2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.8.13",
     "What is known of some commands", HERE, 0, cmd_command_info, NULL, 0, "command"},
    {"list", -2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "7.0.0",
     "The names of all commands", HERE, 0, cmd_command_list, NULL, 0, "command"},
};

static const struct command config_subs[] = {
    {"get", -3, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.0.0",
     "Settings whose names match", HERE, 0, cmd_config_get, NULL, 0, "config"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "5.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "config"},
    {"resetstat", 2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.0.0", "Begin to count anew", HERE, 0, cmd_config_resetstat, NULL, 0, "config"},
    {"rewrite", 2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.8.0", "Nothing to write: the file is never changed by the server", HERE, 0,
     cmd_config_rewrite, NULL, 0, "config"},
    {"set", -4, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.0.0",
     "Set what can be: what the slow log keeps, and maxclients, up to --max-connections", HERE, 0,
     cmd_config_set, NULL, 0, "config"},
};

static const struct command function_subs[] = {
    {"flush", -2, CMD_WRITE | CMD_NOSCRIPT, 0, 0, 0, GROUP_SCRIPTING, "7.0.0", "OK: there are none",
     HERE, 0, cmd_function_flush, NULL, 0, "function"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SCRIPTING, "7.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "function"},
    {"list", -2, CMD_NOSCRIPT, 0, 0, 0, GROUP_SCRIPTING, "7.0.0", "Empty", HERE, 0,
     cmd_function_list, NULL, 0, "function"},
};

static const struct command latency_subs[] = {
    {"doctor", 2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.8.13", "A word on what was slow", HERE, 0, cmd_latency_doctor, NULL, 0, "latency"},
    {"graph", 3, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.8.13", "What HISTORY tells, drawn", HERE, 0, cmd_latency_graph, NULL, 0, "latency"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.8.13", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "latency"},
    {"histogram", -2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "7.0.0", "How long commands took, in powers of two of microseconds", HERE, 0,
     cmd_latency_histogram, NULL, 0, "latency"},
    {"history", 3, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.8.13", "The slowest of each second in which something was slow", HERE, 0,
     cmd_latency_history, NULL, 0, "latency"},
    {"latest", 2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.8.13", "When something was slow last, and how slow at worst", HERE, 0, cmd_latency_latest,
     NULL, 0, "latency"},
    {"reset", -2, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER,
     "2.8.13", "Forget what was slow", HERE, 0, cmd_latency_reset, NULL, 0, "latency"},
};

static const struct command memory_subs[] = {
    {"doctor", 2, 0, 0, 0, 0, GROUP_SERVER, "4.0.0", "A word on memory", HERE, 0, cmd_memory_doctor,
     NULL, 0, "memory"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "4.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "memory"},
    {"usage", -3, CMD_READONLY, 2, 2, 1, GROUP_SERVER, "4.0.0", "Bytes of a key and its value",
     READ, 0, cmd_memory_usage, NULL, 0, "memory"},
};

static const struct command module_subs[] = {
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "5.0.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "module"},
    {"list", 2, CMD_ADMIN | CMD_NOSCRIPT, 0, 0, 0, GROUP_SERVER, "4.0.0", "Empty", HERE, 0,
     cmd_empty_list, NULL, 0, "module"},
};

static const struct command object_subs[] = {
    {"encoding", 3, CMD_READONLY, 2, 2, 1, GROUP_GENERIC, "2.2.3",
     "What Redis would call the form of the value", READ, 0, cmd_object_encoding, NULL, 0,
     "object"},
    {"freq", 3, CMD_READONLY, 2, 2, 1, GROUP_GENERIC, "4.0.0", "Not kept", READ, 0, cmd_object_freq,
     NULL, 0, "object"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_GENERIC, "6.2.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "object"},
    {"idletime", 3, CMD_READONLY, 2, 2, 1, GROUP_GENERIC, "2.2.3", "Not kept: 0", READ, 0,
     cmd_object_idletime, NULL, 0, "object"},
    {"refcount", 3, CMD_READONLY, 2, 2, 1, GROUP_GENERIC, "2.2.3", "1", READ, 0,
     cmd_object_refcount, NULL, 0, "object"},
};

static const struct command slowlog_subs[] = {
    {"get", -2, CMD_ADMIN | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.2.12",
     "The last commands that were slow", HERE, 0, cmd_slowlog_get, NULL, 0, "slowlog"},
    {"help", 2, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "6.2.0", "List the subcommands",
     HERE, 0, cmd_help, NULL, 0, "slowlog"},
    {"len", 2, CMD_ADMIN | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.2.12",
     "How many are kept", HERE, 0, cmd_slowlog_len, NULL, 0, "slowlog"},
    {"reset", 2, CMD_ADMIN | CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.2.12",
     "Forget them", HERE, 0, cmd_slowlog_reset, NULL, 0, "slowlog"},
};

const struct command commands[] = {
    {"acl", -2, 0, 0, 0, 0, GROUP_SERVER, "6.0.0", "Who may do what", HERE, 0, NULL, acl_subs,
     ARRAY_LEN(acl_subs), NULL},
    {"append", 3, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "2.0.0",
     "Append bytes to the value of a key", UPDATE, 0, cmd_append, NULL, 0, NULL},
    {"auth", -2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY,
     0, 0, 0, GROUP_CONNECTION, "1.0.0", "Show a token, as the password of a user or alone", HERE,
     0, cmd_auth, NULL, 0, NULL},
    {"bgsave", -1, CMD_ADMIN | CMD_NOSCRIPT, 0, 0, 0, GROUP_SERVER, "1.0.0",
     "Begin to make all that was written durable", HERE, 0, cmd_bgsave, NULL, 0, NULL},
    {"client", -2, 0, 0, 0, 0, GROUP_CONNECTION, "2.4.0", "What the server knows of its clients",
     HERE, 0, NULL, client_subs, ARRAY_LEN(client_subs), NULL},
    {"command", -1, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "2.8.13",
     "What is known of all commands", HERE, 0, cmd_command, command_subs, ARRAY_LEN(command_subs),
     NULL},
    {"config", -2, 0, 0, 0, 0, GROUP_SERVER, "2.0.0", "Settings of the server", HERE, 0, NULL,
     config_subs, ARRAY_LEN(config_subs), NULL},
    {"copy", -3, CMD_WRITE | CMD_DENYOOM, 1, 2, 1, GROUP_GENERIC, "6.2.0",
     "Copy a value to another key", UPDATE, 0, cmd_copy, NULL, 0, NULL},
    {"dbsize", 1, CMD_READONLY | CMD_FAST, 0, 0, 0, GROUP_SERVER, "1.0.0",
     "How many keys there are", WALK, 0, cmd_dbsize, NULL, 0, NULL},
    {"decr", 2, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0",
     "Subtract one from a number", UPDATE, 0, cmd_decr, NULL, 0, NULL},
    {"decrby", 3, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0",
     "Subtract from a number", UPDATE, 0, cmd_decrby, NULL, 0, NULL},
    {"del", -2, CMD_WRITE, 1, -1, 1, GROUP_GENERIC, "1.0.0", "Delete keys", UPDATE, 0, cmd_del,
     NULL, 0, NULL},
    {"discard", 1, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_AT_ONCE,
     0, 0, 0, GROUP_TRANSACTIONS, "2.0.0", "Forget the transaction", HERE, 0, cmd_discard, NULL, 0,
     NULL},
    {"dump", 2, CMD_READONLY, 1, 1, 1, GROUP_GENERIC, "2.6.0",
     "A value, with what proves it whole, for RESTORE", READ, 0, cmd_dump, NULL, 0, NULL},
    {"echo", 2, CMD_LOADING | CMD_STALE | CMD_FAST, 0, 0, 0, GROUP_CONNECTION, "1.0.0",
     "Say it again", HERE, 0, cmd_echo, NULL, 0, NULL},
    {"exec", 1, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_AT_ONCE, 0, 0, 0, GROUP_TRANSACTIONS,
     "1.2.0", "Carry out the transaction as one step", HERE, 0, cmd_exec, NULL, 0, NULL},
    {"exists", -2, CMD_READONLY | CMD_FAST, 1, -1, 1, GROUP_GENERIC, "1.0.0",
     "How many of the keys are there", READ, 0, cmd_exists, NULL, 0, NULL},
    {"expire", -3, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "1.0.0",
     "Say in how many seconds a key expires", UPDATE, 0, cmd_expire, NULL, 0, NULL},
    {"expireat", -3, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "1.2.0",
     "Say at which second since 1970 a key expires", UPDATE, 0, cmd_expireat, NULL, 0, NULL},
    {"expiretime", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "7.0.0",
     "At which second since 1970 a key expires; -1: never, -2: no key", READ, 0, cmd_expiretime,
     NULL, 0, NULL},
    {"flushall", -1, CMD_WRITE, 0, 0, 0, GROUP_SERVER, "1.0.0",
     "Delete all keys of all databases, in one step", UPDATE, always_blind, cmd_flushall, NULL, 0,
     NULL},
    {"flushdb", -1, CMD_WRITE, 0, 0, 0, GROUP_SERVER, "1.0.0",
     "Delete all keys of the database, in one step", UPDATE, always_blind, cmd_flushdb, NULL, 0,
     NULL},
    {"function", -2, 0, 0, 0, 0, GROUP_SCRIPTING, "7.0.0", "There are no functions", HERE, 0, NULL,
     function_subs, ARRAY_LEN(function_subs), NULL},
    {"get", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0", "The value of a key", READ,
     0, cmd_get, NULL, 0, NULL},
    {"getdel", 2, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_STRING, "6.2.0",
     "The value of a key, which is deleted", UPDATE, 0, cmd_getdel, NULL, 0, NULL},
    {"getex", -2, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_STRING, "6.2.0",
     "The value of a key, and say when it expires", UPDATE, 0, cmd_getex, NULL, 0, NULL},
    {"getrange", 4, CMD_READONLY, 1, 1, 1, GROUP_STRING, "2.4.0", "A part of a value", READ, 0,
     cmd_getrange, NULL, 0, NULL},
    {"getset", 3, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0",
     "The value of a key, which gets a new one", UPDATE, 0, cmd_getset, NULL, 0, NULL},
    {"hello", -1, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY,
     0, 0, 0, GROUP_CONNECTION, "6.0.0", "Choose the protocol, and greet", HERE, 0, cmd_hello, NULL,
     0, NULL},
    {"incr", 2, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0",
     "Add one to a number", UPDATE, 0, cmd_incr, NULL, 0, NULL},
    {"incrby", 3, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0",
     "Add to a number", UPDATE, 0, cmd_incrby, NULL, 0, NULL},
    {"incrbyfloat", 3, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "2.6.0",
     "Add to a number with a point", UPDATE, 0, cmd_incrbyfloat, NULL, 0, NULL},
    {"info", -1, CMD_LOADING | CMD_STALE, 0, 0, 0, GROUP_SERVER, "1.0.0", "How the server is", WALK,
     0, cmd_info, NULL, 0, NULL},
    {"keys", 2, CMD_READONLY | CMD_LABOUR, 0, 0, 0, GROUP_GENERIC, "1.0.0",
     "The keys that match a pattern, in order", WALK, 0, cmd_keys, NULL, 0, NULL},
    {"lastsave", 1, CMD_LOADING | CMD_STALE | CMD_FAST, 0, 0, 0, GROUP_SERVER, "1.0.0",
     "When a write was last made durable", HERE, 0, cmd_lastsave, NULL, 0, NULL},
    {"latency", -2, 0, 0, 0, 0, GROUP_SERVER, "2.8.13", "How long commands take", HERE, 0, NULL,
     latency_subs, ARRAY_LEN(latency_subs), NULL},
    {"lcs", -3, CMD_READONLY | CMD_LABOUR, 1, 2, 1, GROUP_STRING, "7.0.0",
     "The longest letters that two values have in common", READ, 0, cmd_lcs, NULL, 0, NULL},
    {"memory", -2, 0, 0, 0, 0, GROUP_SERVER, "4.0.0", "What keys take", HERE, 0, NULL, memory_subs,
     ARRAY_LEN(memory_subs), NULL},
    {"mget", -2, CMD_READONLY | CMD_FAST, 1, -1, 1, GROUP_STRING, "1.0.0", "The values of keys",
     READ, 0, cmd_mget, NULL, 0, NULL},
    {"module", -2, 0, 0, 0, 0, GROUP_SERVER, "4.0.0", "There are no modules", HERE, 0, NULL,
     module_subs, ARRAY_LEN(module_subs), NULL},
    {"monitor", 1, CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_ALONE, 0, 0, 0,
     GROUP_SERVER, "1.0.0", "Tell every command that is carried out, as it comes", HERE, 0,
     cmd_monitor, NULL, 0, NULL},
    {"move", 3, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "1.0.0",
     "Move a key to another database", UPDATE, 0, cmd_move, NULL, 0, NULL},
    {"mset", -3, CMD_WRITE | CMD_DENYOOM, 1, -1, 2, GROUP_STRING, "1.0.1",
     "Set keys to values, all at once", UPDATE, always_blind, cmd_mset, NULL, 0, NULL},
    {"msetnx", -3, CMD_WRITE | CMD_DENYOOM, 1, -1, 2, GROUP_STRING, "1.0.1",
     "Set keys to values if none of them is there", UPDATE, 0, cmd_msetnx, NULL, 0, NULL},
    {"multi", 1, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_AT_ONCE,
     0, 0, 0, GROUP_TRANSACTIONS, "1.2.0", "Begin a transaction", HERE, 0, cmd_multi, NULL, 0,
     NULL},
    {"object", -2, 0, 0, 0, 0, GROUP_GENERIC, "2.2.3", "How a value is kept", HERE, 0, NULL,
     object_subs, ARRAY_LEN(object_subs), NULL},
    {"persist", 2, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "2.2.0", "Let a key never expire",
     UPDATE, 0, cmd_persist, NULL, 0, NULL},
    {"pexpire", -3, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "2.6.0",
     "Say in how many milliseconds a key expires", UPDATE, 0, cmd_pexpire, NULL, 0, NULL},
    {"pexpireat", -3, CMD_WRITE | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "2.6.0",
     "Say at which millisecond since 1970 a key expires", UPDATE, 0, cmd_pexpireat, NULL, 0, NULL},
    {"pexpiretime", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "7.0.0",
     "At which millisecond since 1970 a key expires; -1: never, -2: no key", READ, 0,
     cmd_pexpiretime, NULL, 0, NULL},
    {"ping", -1, CMD_FAST, 0, 0, 0, GROUP_CONNECTION, "1.0.0", "Is somebody there?", HERE, 0,
     cmd_ping, NULL, 0, NULL},
    {"psetex", 4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, GROUP_STRING, "2.6.0",
     "Set a key to a value that expires in so many milliseconds", UPDATE, always_blind, cmd_psetex,
     NULL, 0, NULL},
    {"pttl", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "2.6.0",
     "Milliseconds until a key expires; -1: never, -2: no key", READ, 0, cmd_pttl, NULL, 0, NULL},
    {"quern.count", 3, CMD_READONLY, 0, 0, 0, GROUP_GENERIC, "7.0.0",
     "How many keys there are from start on and before end", WALK, 0, cmd_quern_count, NULL, 0,
     NULL},
    {"quern.delrange", 3, CMD_WRITE, 0, 0, 0, GROUP_GENERIC, "7.0.0",
     "Delete all keys from start on and before end, in one step", UPDATE, always_blind,
     cmd_quern_delrange, NULL, 0, NULL},
    {"quern.range", -3, CMD_READONLY, 0, 0, 0, GROUP_GENERIC, "7.0.0",
     "Keys from start on and before end, with their values, in order", WALK, 0, cmd_quern_range,
     NULL, 0, NULL},
    {"quern.stats", 1, CMD_READONLY, 0, 0, 0, GROUP_SERVER, "7.0.0",
     "What GET /stats tells of the store, as JSON", HERE, 0, cmd_quern_stats, NULL, 0, NULL},
    {"quit", -1,
     CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_AT_ONCE,
     0, 0, 0, GROUP_CONNECTION, "1.0.0", "End the connection", HERE, 0, cmd_quit, NULL, 0, NULL},
    {"randomkey", 1, CMD_READONLY, 0, 0, 0, GROUP_GENERIC, "1.0.0", "Some key", WALK, 0,
     cmd_randomkey, NULL, 0, NULL},
    {"rename", 3, CMD_WRITE, 1, 2, 1, GROUP_GENERIC, "1.0.0", "Move a value to another key", UPDATE,
     0, cmd_rename, NULL, 0, NULL},
    {"renamenx", 3, CMD_WRITE | CMD_FAST, 1, 2, 1, GROUP_GENERIC, "1.0.0",
     "Move a value to another key if that is free", UPDATE, 0, cmd_renamenx, NULL, 0, NULL},
    {"reset", 1,
     CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_AT_ONCE,
     0, 0, 0, GROUP_CONNECTION, "6.2.0", "Make the connection as new", HERE, 0, cmd_reset, NULL, 0,
     NULL},
    {"restore", -4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, GROUP_GENERIC, "2.6.0",
     "Set a key to what DUMP told, here or in Redis; strings only", UPDATE, restore_is_blind,
     cmd_restore, NULL, 0, NULL},
    {"role", 1, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST, 0, 0, 0, GROUP_SERVER, "2.8.12",
     "What the server is among others", HERE, 0, cmd_role, NULL, 0, NULL},
    {"save", 1, CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_MULTI, 0, 0, 0, GROUP_SERVER, "1.0.0",
     "Make all that was written durable", HERE, 0, cmd_save, NULL, 0, NULL},
    {"scan", -2, CMD_READONLY, 0, 0, 0, GROUP_GENERIC, "2.8.0", "Walk over keys, in order", WALK, 0,
     cmd_scan, NULL, 0, NULL},
    {"select", 2, CMD_LOADING | CMD_STALE | CMD_FAST, 0, 0, 0, GROUP_CONNECTION, "1.0.0",
     "Choose the database, 0 to 15", HERE, 0, cmd_select, NULL, 0, NULL},
    {"set", -3, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, GROUP_STRING, "1.0.0", "Set a key to a value",
     UPDATE, set_is_blind, cmd_set, NULL, 0, NULL},
    {"setex", 4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, GROUP_STRING, "2.0.0",
     "Set a key to a value that expires in so many seconds", UPDATE, always_blind, cmd_setex, NULL,
     0, NULL},
    {"setnx", 3, CMD_WRITE | CMD_DENYOOM | CMD_FAST, 1, 1, 1, GROUP_STRING, "1.0.0",
     "Set a key to a value if it is not there", UPDATE, 0, cmd_setnx, NULL, 0, NULL},
    {"setrange", 4, CMD_WRITE | CMD_DENYOOM, 1, 1, 1, GROUP_STRING, "2.2.0",
     "Overwrite a part of a value", UPDATE, 0, cmd_setrange, NULL, 0, NULL},
    {"shutdown", -1,
     CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_MULTI | CMD_ALLOW_BUSY, 0, 0, 0,
     GROUP_SERVER, "1.0.0", "Shut the server down; all is saved, whatever is asked", HERE, 0,
     cmd_shutdown, NULL, 0, NULL},
    {"slowlog", -2, 0, 0, 0, 0, GROUP_SERVER, "2.2.12", "What was slow", HERE, 0, NULL,
     slowlog_subs, ARRAY_LEN(slowlog_subs), NULL},
    {"strlen", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_STRING, "2.2.0", "How long a value is",
     READ, 0, cmd_strlen, NULL, 0, NULL},
    {"substr", 4, CMD_READONLY, 1, 1, 1, GROUP_STRING, "1.0.0", "A part of a value", READ, 0,
     cmd_getrange, NULL, 0, NULL},
    {"swapdb", 3, CMD_WRITE | CMD_FAST, 0, 0, 0, GROUP_SERVER, "4.0.0",
     "Have two databases change places, in one step", UPDATE, always_blind, cmd_swapdb, NULL, 0,
     NULL},
    {"time", 1, CMD_LOADING | CMD_STALE | CMD_FAST, 0, 0, 0, GROUP_SERVER, "2.6.0",
     "The server's clock: seconds, microseconds", HERE, 0, cmd_time, NULL, 0, NULL},
    {"touch", -2, CMD_READONLY | CMD_FAST, 1, -1, 1, GROUP_GENERIC, "3.2.1",
     "How many of the keys are there", READ, 0, cmd_exists, NULL, 0, NULL},
    {"ttl", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "1.0.0",
     "Seconds until a key expires; -1: never, -2: no key", READ, 0, cmd_ttl, NULL, 0, NULL},
    {"type", 2, CMD_READONLY | CMD_FAST, 1, 1, 1, GROUP_GENERIC, "1.0.0", "string, or none", READ,
     0, cmd_type, NULL, 0, NULL},
    {"unlink", -2, CMD_WRITE | CMD_FAST, 1, -1, 1, GROUP_GENERIC, "4.0.0", "Delete keys", UPDATE, 0,
     cmd_del, NULL, 0, NULL},
    {"unwatch", 1, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY, 0, 0, 0,
     GROUP_TRANSACTIONS, "2.2.0", "Forget what was watched", HERE, 0, cmd_unwatch, NULL, 0, NULL},
    {"wait", 3, CMD_NOSCRIPT, 0, 0, 0, GROUP_GENERIC, "3.0.0", "How many replicas have it: 0", HERE,
     0, cmd_wait, NULL, 0, NULL},
    {"watch", -2, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_AT_ONCE,
     1, -1, 1, GROUP_TRANSACTIONS, "2.2.0", "EXEC does nothing if one of the keys was written",
     HERE, 0, cmd_watch, NULL, 0, NULL},
};

const unsigned command_count = ARRAY_LEN(commands);

unsigned command_numbers(void)
{
    unsigned n = command_count;

    for (unsigned i = 0; i < command_count; i++)
        n += commands[i].sub_count;
    return n;
}

unsigned command_number(const struct command *command)
{
    unsigned n = command_count;

    if (command->parent == NULL)
        return (unsigned)(command - commands);
    for (unsigned i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, command->parent) == 0)
            return n + (unsigned)(command - commands[i].subs);
        n += commands[i].sub_count;
    }
    return 0;
}

const struct command *command_numbered(unsigned number)
{
    const struct command *parent = commands;

    if (number < command_count)
        return &commands[number];
    number -= command_count;
    while (number >= parent->sub_count) {
        number -= parent->sub_count;
        parent++;
    }
    return &parent->subs[number];
}

/* Compares a name as a client wrote it with one of the table. */
static int compare(struct quern_slice name, const char *with)
{
    const uint8_t *letters = name.data;

    for (size_t i = 0; i < name.len; i++) {
        uint8_t letter = letters[i] >= 'A' && letters[i] <= 'Z' ? letters[i] + 32 : letters[i];

        if (letter != (uint8_t)with[i])
            return letter < (uint8_t)with[i] ? -1 : 1;
        if (letter == 0)
            return 1; /* a NUL in the name: longer than any of ours */
    }
    return with[name.len] == '\0' ? 0 : -1;
}

const struct command *command_named(struct quern_slice name, const struct command *from,
                                    unsigned many)
{
    unsigned low = 0, high = many;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = compare(name, from[middle].name);

        if (order == 0)
            return &from[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct command *command_find(const struct quern_slice *args, size_t argc, bool *unknown_sub)
{
    const struct command *command = command_named(args[0], commands, command_count);

    *unknown_sub = false;
    if (command == NULL || command->subs == NULL || argc == 1)
        return command;
    command = command_named(args[1], command->subs, command->sub_count);
    *unknown_sub = command == NULL;
    return command;
}

bool command_arity_fits(const struct command *command, size_t argc)
{
    return command->arity >= 0 ? argc == (size_t)command->arity : argc >= (size_t)-command->arity;
}

const char *command_full_name(const struct command *command, char to[COMMAND_NAME_BYTES])
{
    (void)snprintf(to, COMMAND_NAME_BYTES, "%s%s%s", command->parent != NULL ? command->parent : "",
                   command->parent != NULL ? "|" : "", command->name);
    return to;
}

const char *command_group_name(enum group group)
{
    static const char *const names[] = {"string", "generic",      "connection",
                                        "server", "transactions", "scripting"};

    return names[group];
}

size_t command_secret_from(const struct command *command, const struct quern_slice *args,
                           size_t argc)
{
    if (command->run == cmd_auth)
        return 1;
    if (command->run == cmd_acl_setuser)
        return 3;
    for (size_t i = 2; command->run == cmd_hello && i < argc; i++) {
        if (resp_same_word(args[i], "AUTH"))
            return i + 1;
    }
    return 0;
}

size_t command_last_key(const struct command *command, size_t argc)
{
    if (command->key_step == 0 || argc <= (size_t)command->first_key)
        return 0;
    if (command->last_key >= 0)
        return (size_t)command->last_key < argc ? (size_t)command->last_key : argc - 1;
    return argc - 1;
}
