/* handlers.h - every handler that the table names, by the file it stands in. */
#ifndef SERVER_RESP_HANDLERS_H
#define SERVER_RESP_HANDLERS_H

#include "server/redis/redis.h"

/* redis/strings.c */
enum quern_code cmd_append(struct call *k);
enum quern_code cmd_decr(struct call *k);
enum quern_code cmd_decrby(struct call *k);
enum quern_code cmd_get(struct call *k);
enum quern_code cmd_getrange(struct call *k);
enum quern_code cmd_incr(struct call *k);
enum quern_code cmd_incrby(struct call *k);
enum quern_code cmd_incrbyfloat(struct call *k);
enum quern_code cmd_mget(struct call *k);
enum quern_code cmd_setrange(struct call *k);
enum quern_code cmd_strlen(struct call *k);
/* The value that was read as a reply; NOT_FOUND is null. */
enum quern_code reply_found(struct call *k, enum quern_code code);

/* redis/set.c */
enum quern_code cmd_getdel(struct call *k);
enum quern_code cmd_getex(struct call *k);
enum quern_code cmd_getset(struct call *k);
enum quern_code cmd_mset(struct call *k);
enum quern_code cmd_msetnx(struct call *k);
enum quern_code cmd_psetex(struct call *k);
enum quern_code cmd_set(struct call *k);
enum quern_code cmd_setex(struct call *k);
enum quern_code cmd_setnx(struct call *k);
bool set_is_blind(const struct call *k);

/* redis/expiry.c */
enum quern_code cmd_expire(struct call *k);
enum quern_code cmd_expireat(struct call *k);
enum quern_code cmd_expiretime(struct call *k);
enum quern_code cmd_persist(struct call *k);
enum quern_code cmd_pexpire(struct call *k);
enum quern_code cmd_pexpireat(struct call *k);
enum quern_code cmd_pexpiretime(struct call *k);
enum quern_code cmd_pttl(struct call *k);
enum quern_code cmd_ttl(struct call *k);

/* redis/dump.c */
enum quern_code cmd_dump(struct call *k);
enum quern_code cmd_restore(struct call *k);
bool restore_is_blind(const struct call *k);

/* redis/lcs.c */
enum quern_code cmd_lcs(struct call *k);

/* redis/own.c */
enum quern_code cmd_quern_count(struct call *k);
enum quern_code cmd_quern_delrange(struct call *k);
enum quern_code cmd_quern_range(struct call *k);
enum quern_code cmd_quern_stats(struct call *k);

/* redis/keys.c */
enum quern_code cmd_copy(struct call *k);
enum quern_code cmd_del(struct call *k);
enum quern_code cmd_exists(struct call *k);
enum quern_code cmd_flushall(struct call *k);
enum quern_code cmd_flushdb(struct call *k);
enum quern_code cmd_move(struct call *k);
enum quern_code cmd_object_encoding(struct call *k);
enum quern_code cmd_object_freq(struct call *k);
enum quern_code cmd_object_idletime(struct call *k);
enum quern_code cmd_object_refcount(struct call *k);
enum quern_code cmd_rename(struct call *k);
enum quern_code cmd_renamenx(struct call *k);
enum quern_code cmd_swapdb(struct call *k);
enum quern_code cmd_type(struct call *k);
enum quern_code cmd_memory_usage(struct call *k);

/* redis/scan.c */
enum quern_code cmd_dbsize(struct call *k);
enum quern_code cmd_keys(struct call *k);
enum quern_code cmd_randomkey(struct call *k);
enum quern_code cmd_scan(struct call *k);

/* redis/multi.c */
enum quern_code cmd_discard(struct call *k);
enum quern_code cmd_exec(struct call *k);
enum quern_code cmd_multi(struct call *k);
enum quern_code cmd_unwatch(struct call *k);
enum quern_code cmd_watch(struct call *k);

/* redis/acl.c */
enum quern_code cmd_acl_cat(struct call *k);
enum quern_code cmd_acl_dryrun(struct call *k);
enum quern_code cmd_acl_genpass(struct call *k);
enum quern_code cmd_acl_getuser(struct call *k);
enum quern_code cmd_acl_list(struct call *k);
enum quern_code cmd_acl_users(struct call *k);
enum quern_code cmd_acl_whoami(struct call *k);
enum quern_code cmd_auth(struct call *k);

/* redis/acllog.c */
enum quern_code cmd_acl_log(struct call *k);

/* redis/users.c */
enum quern_code cmd_acl_deluser(struct call *k);
enum quern_code cmd_acl_load(struct call *k);
enum quern_code cmd_acl_save(struct call *k);
enum quern_code cmd_acl_setuser(struct call *k);

/* redis/client.c */
enum quern_code cmd_client_getname(struct call *k);
enum quern_code cmd_client_id(struct call *k);
enum quern_code cmd_client_no_evict(struct call *k);
enum quern_code cmd_client_no_touch(struct call *k);
enum quern_code cmd_client_reply(struct call *k);
enum quern_code cmd_client_setinfo(struct call *k);
enum quern_code cmd_client_setname(struct call *k);
enum quern_code cmd_client_tracking(struct call *k);
enum quern_code cmd_echo(struct call *k);
enum quern_code cmd_hello(struct call *k);
enum quern_code cmd_ping(struct call *k);
enum quern_code cmd_quit(struct call *k);
enum quern_code cmd_reset(struct call *k);
enum quern_code cmd_select(struct call *k);

/* redis/clients.c */
enum quern_code cmd_client_info(struct call *k);
enum quern_code cmd_client_kill(struct call *k);
enum quern_code cmd_client_list(struct call *k);
enum quern_code cmd_client_pause(struct call *k);
enum quern_code cmd_client_unpause(struct call *k);

/* redis/monitor.c */
enum quern_code cmd_monitor(struct call *k);

/* redis/admin.c */
enum quern_code cmd_bgsave(struct call *k);
enum quern_code cmd_config_get(struct call *k);
enum quern_code cmd_config_resetstat(struct call *k);
enum quern_code cmd_config_rewrite(struct call *k);
enum quern_code cmd_config_set(struct call *k);
enum quern_code cmd_empty_list(struct call *k);
enum quern_code cmd_function_flush(struct call *k);
enum quern_code cmd_function_list(struct call *k);
enum quern_code cmd_lastsave(struct call *k);
enum quern_code cmd_memory_doctor(struct call *k);
enum quern_code cmd_role(struct call *k);
enum quern_code cmd_save(struct call *k);
enum quern_code cmd_shutdown(struct call *k);
enum quern_code cmd_time(struct call *k);
enum quern_code cmd_wait(struct call *k);

/* redis/slowlog.c */
enum quern_code cmd_slowlog_get(struct call *k);
enum quern_code cmd_slowlog_len(struct call *k);
enum quern_code cmd_slowlog_reset(struct call *k);

/* redis/latency.c */
enum quern_code cmd_latency_doctor(struct call *k);
enum quern_code cmd_latency_graph(struct call *k);
enum quern_code cmd_latency_histogram(struct call *k);
enum quern_code cmd_latency_history(struct call *k);
enum quern_code cmd_latency_latest(struct call *k);
enum quern_code cmd_latency_reset(struct call *k);

/* redis/info.c */
enum quern_code cmd_info(struct call *k);

/* redis/command.c */
enum quern_code cmd_command(struct call *k);
enum quern_code cmd_command_count(struct call *k);
enum quern_code cmd_command_docs(struct call *k);
enum quern_code cmd_command_getkeys(struct call *k);
enum quern_code cmd_command_info(struct call *k);
enum quern_code cmd_command_list(struct call *k);
enum quern_code cmd_help(struct call *k);

#endif
