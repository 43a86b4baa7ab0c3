/* unix_socket.h - listening at a path of the file system. */
#ifndef SERVER_UNIX_SOCKET_H
#define SERVER_UNIX_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* "unix:/run/q.sock" -> /run/q.sock; NULL: not of that kind. */
const char *unix_path(const char *text);
/* False: too long for a socket's name, or empty. */
bool unix_address(const char *path, struct sockaddr_un *out);

/* Which file is ours, so that at the end no other is removed. */
struct unix_file {
    uint64_t device, number;
};

/* A listening socket that owner and group of the process may connect to, in the place of one that a
 * server left which is gone; or minus errno: EADDRINUSE (a server listens there), EEXIST (something
 * that is no socket is there), or another. */
int unix_listen(const struct sockaddr_un *address, int backlog, struct unix_file *file);
void unix_remove(const struct sockaddr_un *address, const struct unix_file *file);

#endif
