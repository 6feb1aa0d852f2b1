// What hostile programs in containers have done, in one static program. Each line that it prints is a fact for the test to
// judge; it never decides itself whether an attack has worked.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

// All open descriptors, without opening one.
static void fds(void) {
    char name[64], link[512];
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, link, sizeof link - 1);
        link[n < 0 ? 0 : n] = 0;
        printf("%d %s\n", fd, link);
    }
}

static char up[4096];

// Whether a directory leads to the host's marker.
static int leads_out(int dir) {
    int fd = openat(dir, up, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    close(fd);
    return 1;
}

static void look_at(int pid) {
    char path[512], link[512];
    // A file of another process that can be opened for writing is its program's.
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t n = readlink(path, link, sizeof link - 1);
    if (n > 0) {
        link[n] = 0;
        if (strcmp(link, "/attack") && strncmp(link, "/bin/", 5)) printf("EXE %d %s\n", pid, link);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            if (strcmp(link, "/attack") && strncmp(link, "/bin/", 5)) printf("WRITABLE %d %s\n", pid, link);
            close(fd);
        }
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, i ? "root" : "cwd");
        int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) continue;
        if (leads_out(fd)) printf("OUT %d %s\n", pid, path);
        close(fd);
    }
    for (int i = 0; i < 96; i++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, i);
        n = readlink(path, link, sizeof link - 1);
        if (n <= 0) continue;
        link[n] = 0;
        if (i > 2) printf("FD %d %d %s\n", pid, i, link);
        int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            if (leads_out(fd)) printf("OUT %d %s %s\n", pid, path, link);
            close(fd);
        }
    }
}

// As the first process: look at every other one as fast as possible.
static void watch(void) {
    printf("READY\n");
    fflush(stdout);
    for (int pid = 2;; pid++) {
        // New processes get the next numbers, so a short range behind the newest is looked at again and again.
        char path[64];
        snprintf(path, sizeof path, "/proc/%d", pid);
        if (access(path, F_OK) == 0) {
            printf("SAW %d\n", pid);
            for (int i = 0; i < 400 && access(path, F_OK) == 0; i++) look_at(pid);
            fflush(stdout);
        } else {
            int newest = 1;
            FILE *f = fopen("/proc/loadavg", "r");
            if (f) {
                if (fscanf(f, "%*s %*s %*s %*s %d", &newest) != 1) newest = 1;
                fclose(f);
            }
            if (pid > newest + 1) pid = newest - 1 > 1 ? newest - 1 : 1;
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
    }
}

static void swap(const char *a, const char *b) {
    printf("READY\n");
    fflush(stdout);
    for (;;) syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

#ifdef __x86_64__
static long i386(long nr, long a, long b, long c) {
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return (int)r;
}
#endif

static void socket_line(const char *way, int family, int type, long result) {
    printf("%s %d/%d %s\n", way, family, type, result >= 0 ? "ok" : strerror((int)-result));
    fflush(stdout);
    if (result >= 0) close((int)result);
}

// A child does each call: a filter may kill.
static void socket_try(int way, int family, int type) {
    static const char *names[] = {"native", "x32", "i386", "socketcall"};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long r = -ENOSYS;
        if (way == 0) {
            r = syscall(SYS_socket, family, type, 0);
            if (r < 0) r = -errno;
        }
#ifdef __x86_64__
        if (way == 1) {
            r = syscall(SYS_socket | 0x40000000, family, type, 0);
            if (r < 0) r = -errno;
        }
        if (way == 2) r = i386(359, family, type, 0);
        if (way == 3) {
            // The arguments lie where 32 bits can point.
            static unsigned low[3] __attribute__((aligned(8)));
            low[0] = (unsigned)family, low[1] = (unsigned)type, low[2] = 0;
            r = (unsigned long)low >> 32 ? -ENOSYS : i386(102, 1, (long)low, 0);
        }
#endif
        socket_line(names[way], family, type, r);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("%s %d/%d killed\n", names[way], family, type);
}

static void sockets(void) {
    // unix, inet, inet6, netlink, packet, key, tipc, alg, vsock, qipcrtr, xdp
    static const int all[][2] = {{1, 1}, {2, 1}, {10, 1}, {16, 3}, {17, 3}, {15, 3}, {30, 1}, {38, 5}, {40, 1}, {42, 2}, {44, 3}};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        for (int way = 0; way < 4; way++) socket_try(way, all[i][0], all[i][1]);
}

// Doors to kernel bugs of the past: every one has to be shut before its arguments are looked at.
static void calls(void) {
    static const struct { const char *name; long nr; long a, b, c; } all[] = {
        {"unshare-user", SYS_unshare, CLONE_NEWUSER, 0, 0},
        {"unshare-mount", SYS_unshare, CLONE_NEWNS, 0, 0},
        {"unshare-net", SYS_unshare, CLONE_NEWNET, 0, 0},
        {"clone-user", SYS_clone, CLONE_NEWUSER | 17, 0, 0},
        {"setns", SYS_setns, 0, 0, 0},
        {"mount", SYS_mount, 0, 0, 0},
        {"fsopen", 430, (long)"ext4", 0, 0},
        {"open_tree", 428, AT_FDCWD, (long)"/", 1},
        {"move_mount", 429, 0, 0, 0},
        {"pivot_root", SYS_pivot_root, 0, 0, 0},
        {"keyctl", SYS_keyctl, 0, 0, 0},
        {"add_key", SYS_add_key, 0, 0, 0},
        {"request_key", SYS_request_key, 0, 0, 0},
        {"bpf", SYS_bpf, 0, 0, 0},
        {"perf_event_open", SYS_perf_event_open, 0, 0, -1},
        {"userfaultfd", SYS_userfaultfd, 0, 0, 0},
        {"io_uring_setup", 425, 1, 0, 0},
        {"kexec_load", SYS_kexec_load, 0, 0, 0},
        {"init_module", SYS_init_module, 0, 0, 0},
        {"delete_module", SYS_delete_module, 0, 0, 0},
        {"open_by_handle_at", SYS_open_by_handle_at, 0, 0, 0},
        {"acct", SYS_acct, 0, 0, 0},
        {"swapon", SYS_swapon, 0, 0, 0},
        {"reboot", SYS_reboot, 0, 0, 0},
        {"settimeofday", SYS_settimeofday, 0, 0, 0},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            long r = syscall(all[i].nr, all[i].a, all[i].b, all[i].c, 0, 0);
            if (r == 0 && all[i].nr == SYS_clone) _exit(0);
            printf("%s %s\n", all[i].name, r >= 0 ? "ok" : strerror(errno));
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "fds";
    if (argc > 2) snprintf(up, sizeof up, "../../../../../../../../../../../../../../../../../../../../%s", argv[2]);
    if (!strcmp(what, "fds")) fds();
    else if (!strcmp(what, "watch")) watch();
    else if (!strcmp(what, "out")) printf(leads_out(AT_FDCWD) ? "OUT\n" : "in\n");
    else if (!strcmp(what, "swap") && argc > 3) swap(argv[2], argv[3]);
    else if (!strcmp(what, "sockets")) sockets();
    else if (!strcmp(what, "calls")) calls();
    else if (!strcmp(what, "sleep")) for (;;) pause();
    fflush(stdout);
    return 0;
}
