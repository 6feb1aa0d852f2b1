/*
 * The kernel's floor: what `run --rm busybox true` costs when nothing but system calls is done. One round is
 * clone3 with every namespace, a veth pair into it, an overlay mount, proc, pivot_root, execve of a program, wait,
 * and the removal of all of it. (clone3(2), mount(2), pivot_root(2), rtnetlink(7))
 *
 *   floor ROUNDS LOWERDIR SCRATCH veth|none PROGRAM    prints the median of one round in microseconds
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/veth.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) { fprintf(stderr, "floor: %s: %s\n", what, strerror(errno)); _exit(125); }

struct request { struct nlmsghdr h; struct ifinfomsg i; char attributes[512]; };

static struct rtattr *attribute(struct request *r, int type, const void *data, int size) {
    struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->h.nlmsg_len));
    a->rta_type = type; a->rta_len = RTA_LENGTH(size);
    if (size) memcpy(RTA_DATA(a), data, size);
    r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + RTA_ALIGN(a->rta_len);
    return a;
}
static void nest_end(struct request *r, struct rtattr *a) { a->rta_len = (char *)r + r->h.nlmsg_len - (char *)a; }

static void make_veth(int socket, pid_t pid) {
    struct request r = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)), .nlmsg_type = RTM_NEWLINK,
                              .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};
    char name[32], reply[1024];
    snprintf(name, sizeof name, "fl%d", pid % 1000000);
    r.i.ifi_change = IFF_UP; r.i.ifi_flags = IFF_UP;
    attribute(&r, IFLA_IFNAME, name, strlen(name) + 1);
    struct rtattr *info = attribute(&r, IFLA_LINKINFO, NULL, 0);
    attribute(&r, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(&r, IFLA_INFO_DATA, NULL, 0);
    struct ifinfomsg none = {0};
    struct rtattr *peer = attribute(&r, VETH_INFO_PEER, &none, sizeof none);
    attribute(&r, IFLA_IFNAME, "eth0", 5);
    attribute(&r, IFLA_NET_NS_PID, &pid, sizeof pid);
    nest_end(&r, peer); nest_end(&r, data); nest_end(&r, info);
    if (send(socket, &r, r.h.nlmsg_len, 0) < 0) die("netlink send");
    if (recv(socket, reply, sizeof reply, 0) < 0) die("netlink receive");
    struct nlmsgerr *e = NLMSG_DATA((struct nlmsghdr *)reply);
    if (e->error) { errno = -e->error; die("veth"); }
}

static void child(int go, const char *lower, const char *scratch, char *program) {
    char byte, options[2048], merged[400];
    snprintf(merged, sizeof merged, "%s/merged", scratch);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, scratch, scratch);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("private");
    if (mount("overlay", merged, "overlay", 0, options)) die("overlay");
    if (chdir(merged)) die("chdir");
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) die("proc");
    if (syscall(SYS_pivot_root, ".", ".")) die("pivot_root");
    if (umount2(".", MNT_DETACH)) die("umount");
    if (read(go, &byte, 1) != 0) die("go"); /* end of file: the parent is done */
    char *argv[] = {program, "true", NULL}, *env[] = {NULL};
    execve(program, argv, env);
    die("execve");
}

static int compare(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return (x > y) - (x < y); }

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: floor ROUNDS LOWERDIR SCRATCH veth|none PROGRAM\n"); return 2; }
    int rounds = atoi(argv[1]), veth = !strcmp(argv[4], "veth");
    double *times = calloc(rounds, sizeof *times);
    int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    for (int i = 0; i < rounds; i++) {
        struct timespec a, b;
        char dir[300];
        int p[2], status;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (const char **d = (const char *[]){"", "/upper", "/work", "/merged", NULL}; *d; d++) {
            snprintf(dir, sizeof dir, "%s/%d%s", argv[3], i, *d);
            if (mkdir(dir, 0755)) die(dir);
        }
        snprintf(dir, sizeof dir, "%s/%d", argv[3], i);
        if (pipe2(p, O_CLOEXEC)) die("pipe");
        struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP,
                                  .exit_signal = SIGCHLD};
        pid_t pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid < 0) die("clone3");
        if (pid == 0) { close(p[1]); child(p[0], argv[2], dir, argv[5]); }
        close(p[0]);
        if (veth) make_veth(nl, pid);
        close(p[1]);
        if (waitpid(pid, &status, 0) != pid || status) { fprintf(stderr, "floor: status %d\n", status); return 1; }
        clock_gettime(CLOCK_MONOTONIC, &b);
        times[i] = (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
    }
    qsort(times, rounds, sizeof *times, compare);
    printf("%.0f\n", times[rounds / 2]);
    return 0;
}
