/* A slow or failing disk, for one process: loaded before everything else.
 *
 * While the file named by MUNIMENT_SHIM_CONTROL is there, each fsync does what it says:
 * "delay N" waits N milliseconds first; "eio" fails once, and the file goes away. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 1 when this call is to fail. */
static int obey(void) {
    const char *path = getenv("MUNIMENT_SHIM_CONTROL");
    char text[32] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    if (!strncmp(text, "delay ", 6)) usleep(1000 * (useconds_t)atoi(text + 6));
    /* Who removes it is the one that fails. */
    return !strncmp(text, "eio", 3) && unlink(path) == 0;
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (obey()) { errno = EIO; return -1; }
    return next(fd);
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (obey()) { errno = EIO; return -1; }
    return next(fd);
}

int sync_file_range(int fd, off64_t at, off64_t length, unsigned int flags) {
    static int (*next)(int, off64_t, off64_t, unsigned int);
    if (!next) next = (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
    if (obey()) { errno = EIO; return -1; }
    return next(fd, at, length, flags);
}
