/* hiredis.c - libhiredis against the Redis protocol's port: what a C program does. hiredis PORT */
#include <hiredis/hiredis.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static redisContext *redis;
static int failures;

static void must(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "hiredis: %s (%s)\n", what, redis->errstr);
        failures++;
    }
}

static void check_text(redisReply *reply, int type, const char *text, const char *what)
{
    must(reply != NULL && reply->type == type && reply->len == strlen(text) &&
             memcmp(reply->str, text, reply->len) == 0,
         what);
    freeReplyObject(reply);
}

static void check_number(redisReply *reply, long long number, const char *what)
{
    must(reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer == number, what);
    freeReplyObject(reply);
}

static void one_by_one(void)
{
    redisReply *reply;

    check_text(redisCommand(redis, "PING"), REDIS_REPLY_STATUS, "PONG", "PING");
    check_text(redisCommand(redis, "SET %s %b", "a", "x\0y\r\n", (size_t)5), REDIS_REPLY_STATUS,
               "OK", "SET of bytes");
    reply = redisCommand(redis, "GET a");
    must(reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == 5 &&
             memcmp(reply->str, "x\0y\r\n", 5) == 0,
         "GET of bytes");
    freeReplyObject(reply);
    reply = redisCommand(redis, "GET none");
    must(reply != NULL && reply->type == REDIS_REPLY_NIL, "GET of nothing");
    freeReplyObject(reply);
    check_number(redisCommand(redis, "INCRBY n %d", 42), 42, "INCRBY");
    check_number(redisCommand(redis, "DEL a none"), 1, "DEL");
    check_text(redisCommand(redis, "GET"), REDIS_REPLY_ERROR,
               "ERR wrong number of arguments for 'get' command", "a command without its argument");
    reply = redisCommand(redis, "MGET n none");
    must(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
             reply->element[1]->type == REDIS_REPLY_NIL,
         "MGET");
    freeReplyObject(reply);
}

static void in_a_pipeline(void)
{
    for (int i = 0; i < 1000; i++)
        must(redisAppendCommand(redis, "SET p%d %d", i, i) == REDIS_OK, "append");
    for (int i = 0; i < 1000; i++)
        must(redisAppendCommand(redis, "INCR p%d", i) == REDIS_OK, "append");
    for (int i = 0; i < 2000; i++) {
        void *reply = NULL;

        must(redisGetReply(redis, &reply) == REDIS_OK, "a reply of the pipeline");
        if (i < 1000)
            check_text(reply, REDIS_REPLY_STATUS, "OK", "SET in a pipeline");
        else
            check_number(reply, i - 1000 + 1, "INCR in a pipeline");
    }
}

int main(int argc, char **argv)
{
    redis = redisConnect("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0);
    if (redis == NULL || redis->err != 0) {
        (void)fprintf(stderr, "hiredis: cannot connect: %s\n", redis != NULL ? redis->errstr : "");
        return 1;
    }
    one_by_one();
    in_a_pipeline();
    redisFree(redis);
    if (failures == 0)
        (void)puts("done");
    return failures != 0;
}
