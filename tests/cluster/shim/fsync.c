/* A slow or failing disk, for one process: loaded before everything else.
 *
 * While the file named by MUNIMENT_SHIM_CONTROL is there, each fsync does what it says:
 * "delay N" waits N milliseconds first; "eio" fails once, and the file goes away; "hang"
 * fails once and never returns again. With "unreadable", no blob file can be read. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the file says; empty where there is none. */
static const char *told(char text[32]) {
    const char *path = getenv("MUNIMENT_SHIM_CONTROL");
    memset(text, 0, 32);
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return path;
    if (read(file, text, 31) < 0) text[0] = 0;
    close(file);
    return path;
}

/* 1 when this call is to fail. */
static int obey(void) {
    static atomic_int failed;
    char text[32];
    const char *path = told(text);
    if (!strncmp(text, "delay ", 6)) usleep(1000 * (useconds_t)atoi(text + 6));
    if (!strncmp(text, "hang", 4)) {
        if (!atomic_exchange(&failed, 1)) return 1;
        for (;;) pause();
    }
    /* Who removes it is the one that fails. */
    return !strncmp(text, "eio", 3) && unlink(path) == 0;
}

/* 1 when this file is not to be read. */
static int is_unreadable(int fd) {
    char text[32], link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 5 || strncmp(name + length - 5, ".blob", 5)) return 0;
    told(text);
    return !strncmp(text, "unreadable", 10);
}

ssize_t pread(int fd, void *to, size_t count, off_t at) {
    static ssize_t (*next)(int, void *, size_t, off_t);
    if (!next) next = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    if (is_unreadable(fd)) { errno = EIO; return -1; }
    return next(fd, to, count, at);
}

ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    static ssize_t (*next)(int, void *, size_t, off64_t);
    if (!next) next = (ssize_t (*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
    if (is_unreadable(fd)) { errno = EIO; return -1; }
    return next(fd, to, count, at);
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
