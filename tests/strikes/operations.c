/* Counts the operations on files below a folder, and strikes at one of them: kills the process or fills the disk.
 *
 * Preloaded (LD_PRELOAD), so that it sees what libraries do, too. It does nothing until `strikes_arm` is called, and
 * nothing in children. An operation is: open for writing, write, fsync, truncate, rename, unlink, rmdir, mkdir. What
 * stdio writes of its own accord (fwrite) passes unseen; neither Python nor C++ streams write by it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, FULL };

static char below[PATH_MAX];
static int protocol = -1, mode;
static long count, at;
static pid_t owner;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Write "operation path" of each to the descriptor `log`; strike at number `number`, from 1. */
void strikes_arm(const char *folder, int log, long number, int how) {
    snprintf(below, sizeof below, "%s/", folder);
    protocol = log, at = number, mode = how, count = 0, owner = getpid();
}

static void place(char *path, int folder, const char *name) {
    char link[64];
    ssize_t length = 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) {
            length = getcwd(path, PATH_MAX - 1) ? (ssize_t)strlen(path) : 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            length = readlink(link, path, PATH_MAX - 1);
        }
        if (length < 0) length = 0;
        if (name[0]) path[length++] = '/';
    }
    snprintf(path + length, PATH_MAX - length, "%s", name);
}

/* Whether the disk is full for this operation. A kill comes before it, but in the middle of a write. */
static int struck(const char *operation, int folder, const char *name, int needs_room) {
    char path[PATH_MAX], line[PATH_MAX + 32];
    if (!owner || owner != getpid() || !name) return 0;
    place(path, folder, name);
    if (strncmp(path, below, strlen(below)) != 0) return 0;
    count++;
    int length = snprintf(line, sizeof line, "%s %s\n", operation, path + strlen(below));
    if (REAL(write)(protocol, line, length) < 0) _exit(99);
    if (mode == KILL && count == at && strcmp(operation, "write") != 0) kill(owner, SIGKILL);
    if (mode == FULL && count >= at && needs_room) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

static int missing(int folder, const char *name) { return faccessat(folder, name, F_OK, 0) != 0; }

static int opened(int folder, const char *name, int flags) {
    if (!(flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))) return 0;
    return struck("open", folder, name, (flags & O_CREAT) && missing(folder, name));
}

#define MODE(flags, last) \
    mode_t rights = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, last); \
        rights = va_arg(rest, mode_t); \
        va_end(rest); \
    }

#define OPEN(function) \
    int function(const char *name, int flags, ...) { \
        MODE(flags, flags) \
        return opened(AT_FDCWD, name, flags) ? -1 : REAL(function)(name, flags, rights); \
    }
#define OPENAT(function) \
    int function(int folder, const char *name, int flags, ...) { \
        MODE(flags, flags) \
        return opened(folder, name, flags) ? -1 : REAL(function)(folder, name, flags, rights); \
    }
#define FOPEN(function) \
    FILE *function(const char *name, const char *how) { \
        int flags = how[0] == 'r' && !strchr(how, '+') ? O_RDONLY : O_RDWR | (how[0] == 'r' ? 0 : O_CREAT); \
        return opened(AT_FDCWD, name, flags) ? NULL : REAL(function)(name, how); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

/* How many bytes of a write reach the disk: half of them where it is struck; -1 when there is no room at all. */
static ssize_t room(int file, size_t size) {
    long before = count;
    int full = struck("write", file, "", 1);
    if (count == before) return (ssize_t)size;
    if (count == at && mode != COUNT && size > 1) return (ssize_t)(size / 2);
    if (count == at && mode == KILL) kill(owner, SIGKILL);
    return full ? -1 : (ssize_t)size;
}

static ssize_t written(ssize_t done) {
    if (mode == KILL && count == at && owner == getpid()) kill(owner, SIGKILL);
    return done;
}

ssize_t write(int file, const void *content, size_t size) {
    ssize_t some = room(file, size);
    if (some < 0) return -1;
    ssize_t done = REAL(write)(file, content, some);
    return some < (ssize_t)size ? written(done) : done;
}

#define PWRITE(function, offset) \
    ssize_t function(int file, const void *content, size_t size, offset place) { \
        ssize_t some = room(file, size); \
        if (some < 0) return -1; \
        ssize_t done = REAL(function)(file, content, some, place); \
        return some < (ssize_t)size ? written(done) : done; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int file, const struct iovec *parts, int number) {
    size_t size = 0;
    for (int part = 0; part < number; part++) size += parts[part].iov_len;
    ssize_t some = room(file, size);
    if (some < 0) return -1;
    if (some == (ssize_t)size) return REAL(writev)(file, parts, number);
    size_t first = parts[0].iov_len < (size_t)some ? parts[0].iov_len : (size_t)some;
    return written(REAL(write)(file, parts[0].iov_base, first));
}

int fsync(int file) { return struck("fsync", file, "", 1) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return struck("fsync", file, "", 1) ? -1 : REAL(fdatasync)(file); }
int ftruncate(int file, off_t size) { return struck("truncate", file, "", 0) ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { return struck("truncate", file, "", 0) ? -1 : REAL(ftruncate64)(file, size); }

int rename(const char *from, const char *to) {
    return struck("rename", AT_FDCWD, to, 0) ? -1 : REAL(rename)(from, to);
}
int renameat(int old, const char *from, int new, const char *to) {
    return struck("rename", new, to, 0) ? -1 : REAL(renameat)(old, from, new, to);
}
int unlink(const char *name) { return struck("unlink", AT_FDCWD, name, 0) ? -1 : REAL(unlink)(name); }
int unlinkat(int folder, const char *name, int flags) {
    return struck("unlink", folder, name, 0) ? -1 : REAL(unlinkat)(folder, name, flags);
}
int rmdir(const char *name) { return struck("rmdir", AT_FDCWD, name, 0) ? -1 : REAL(rmdir)(name); }
int mkdir(const char *name, mode_t rights) {
    return struck("mkdir", AT_FDCWD, name, missing(AT_FDCWD, name)) ? -1 : REAL(mkdir)(name, rights);
}
int mkdirat(int folder, const char *name, mode_t rights) {
    return struck("mkdir", folder, name, missing(folder, name)) ? -1 : REAL(mkdirat)(folder, name, rights);
}
