/* unix_socket.c - a socket in the file system outlives its server when that is killed. Whether one
 * that is there is alive, only connecting tells.
 *
 *     lock the directory -> bind --in use--> connect --refused--> unlink, bind again
 *                                               '---accepted--> EADDRINUSE
 *
 * Two servers that start at once would both find the old one dead, and the second remove the first's
 * new one: the lock lets one after the other. It is flock() of the directory itself and so leaves
 * nothing behind. */
#include "server/net/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_MODE 0660

const char *unix_path(const char *text)
{
    return strncmp(text, "unix:", 5) == 0 ? text + 5 : NULL;
}

bool unix_address(const char *path, struct sockaddr_un *out)
{
    memset(out, 0, sizeof(*out));
    out->sun_family = AF_UNIX;
    if (path[0] == '\0' || strlen(path) >= sizeof(out->sun_path))
        return false;
    (void)strcpy(out->sun_path, path);
    return true;
}

static int lock_directory(const struct sockaddr_un *address)
{
    char directory[sizeof(address->sun_path)] = ".";
    const char *slash = strrchr(address->sun_path, '/');
    int fd;

    if (slash != NULL)
        (void)snprintf(directory, sizeof(directory), "%.*s",
                       slash == address->sun_path ? 1 : (int)(slash - address->sun_path),
                       address->sun_path);
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)flock(fd, LOCK_EX); /* a file system without locks has one server at a time */
    return fd;
}

/* Is it the socket of a server that is gone? Else errno says what it is. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat st;
    int fd, rc;

    if (lstat(address->sun_path, &st) != 0)
        return errno == ENOENT;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    /* EAGAIN: somebody listens, and is busy. */
    if (rc == 0 || errno != ECONNREFUSED)
        errno = rc == 0 || errno == EAGAIN ? EADDRINUSE : errno;
    else
        rc = -2;
    (void)close(fd);
    return rc == -2;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address, int backlog)
{
    const struct sockaddr *any = (const struct sockaddr *)address;

    if (bind(fd, any, sizeof(*address)) != 0) {
        if (errno != EADDRINUSE || !is_stale(address))
            return -errno;
        (void)unlink(address->sun_path);
        if (bind(fd, any, sizeof(*address)) != 0)
            return -errno;
    }
    /* Nobody can connect before listen(), so nobody comes in by the mode that bind() gave. */
    if (chmod(address->sun_path, SOCKET_MODE) != 0 || listen(fd, backlog) != 0)
        return -errno;
    return 0;
}

int unix_listen(const struct sockaddr_un *address, int backlog, struct unix_file *file)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int lock, error;
    struct stat st;

    if (fd < 0)
        return -errno;
    lock = lock_directory(address);
    error = bind_and_listen(fd, address, backlog);
    if (error == 0 && lstat(address->sun_path, &st) == 0)
        *file = (struct unix_file){st.st_dev, st.st_ino};
    if (lock >= 0)
        (void)close(lock);
    if (error == 0)
        return fd;
    (void)close(fd);
    return error;
}

void unix_remove(const struct sockaddr_un *address, const struct unix_file *file)
{
    struct stat st;

    if (lstat(address->sun_path, &st) == 0 && st.st_dev == file->device &&
        st.st_ino == file->number)
        (void)unlink(address->sun_path);
}
