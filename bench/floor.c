/*
 * The kernel's floor: what `run --rm busybox true` costs when nothing but system calls is done. One round is
 * clone3 with every namespace, a veth pair into it, an overlay mount, proc, pivot_root, execve of a program, wait,
 * and the removal of all of it. (clone3(2), mount(2), pivot_root(2), rtnetlink(7))
 *
 *   floor ROUNDS LOWERDIR SCRATCH veth|none PROGRAM [DUTY,...]    prints microseconds: the median of one round, and the
 *   processor time of one (of this process and its children, the kernel's own threads apart), which other load changes little
 *
 * With duties a round does more of what the specification asks of a runtime, again by system calls alone, so that what each costs
 * the kernel can be told from what a runtime makes of it:
 *   steps     create, start and delete are processes: two more executions of a static program, and a third that waits
 *   protected the first of them is executed again through a read-only mount of its own
 *   cgroup    a group in every hierarchy, the process moved into it, the group removed (cgroup v2: made in it)
 *   mounts    the root by descriptor, /dev with its nodes and links, devpts, shm, mqueue, sysfs, and cgroup v1 trees or cgroup2
 *   masks     what Docker masks and makes read-only below /proc and /sys
 *   caps      bounding set, capabilities, identity, session, keyring, signal dispositions
 *   seccomp   a filter of as many instructions as Docker's profile has
 *   state     files that say between the steps what there is
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
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

enum { STEPS = 1, PROTECTED = 2, CGROUP = 4, MOUNTS = 8, MASKS = 16, CAPS = 32, SECCOMP = 64, STATE = 128 };
static const char *const DUTIES[] = {"steps", "protected", "cgroup", "mounts", "masks", "caps", "seccomp", "state"};
static int duties;

/* Trees of cgroup v1, or the one of v2. */
enum { MOST_TREES = 32 };
static char trees[MOST_TREES][128];
static int tree_count, unified;

static void find_trees(void) {
    struct statfs fs;
    if (!statfs("/sys/fs/cgroup", &fs) && fs.f_type == 0x63677270) {
        unified = tree_count = 1;
        strcpy(trees[0], "/sys/fs/cgroup");
        return;
    }
    DIR *all = opendir("/sys/fs/cgroup");
    for (struct dirent *e; all && (e = readdir(all)) && tree_count < MOST_TREES;) {
        char *t = trees[tree_count];
        snprintf(t, sizeof trees[0], "/sys/fs/cgroup/%.60s", e->d_name);
        struct stat link;
        if (e->d_name[0] != '.' && !lstat(t, &link) && S_ISDIR(link.st_mode) && !statfs(t, &fs) && fs.f_type == 0x27e0eb) tree_count++;
    }
    if (all) closedir(all);
}

static void put(const char *file, const char *text) {
    int f = open(file, O_WRONLY | O_CLOEXEC);
    if (f < 0 || write(f, text, strlen(text)) < 0) die(file);
    close(f);
}

static void make_groups(int round, int *files) {
    char path[256], from[256], text[64];
    for (int i = 0; i < tree_count; i++) {
        snprintf(path, sizeof path, "%s/knarr-floor-%d", trees[i], round);
        if (mkdir(path, 0755)) die(path);
        if (!unified && strstr(trees[i], "cpuset"))
            for (const char **n = (const char *[]){"cpuset.cpus", "cpuset.mems", NULL}; *n; n++) {
                snprintf(from, sizeof from, "%s/%s", trees[i], *n);
                int f = open(from, O_RDONLY | O_CLOEXEC), length = read(f, text, sizeof text - 1);
                close(f);
                text[length > 0 ? length : 0] = 0;
                snprintf(path, sizeof path, "%s/knarr-floor-%d/%s", trees[i], round, *n);
                put(path, text);
            }
        snprintf(path, sizeof path, "%s/knarr-floor-%d%s", trees[i], round, unified ? "" : "/tasks");
        if ((files[i] = open(path, unified ? O_PATH | O_DIRECTORY | O_CLOEXEC : O_WRONLY | O_CLOEXEC)) < 0) die(path);
    }
}
static void remove_groups(int round) {
    char path[256];
    for (int i = 0; i < tree_count; i++) {
        snprintf(path, sizeof path, "%s/knarr-floor-%d", trees[i], round);
        while (rmdir(path) && errno == EBUSY) usleep(100);
    }
}

static void attached(const char *type, const char *at, const char *options, unsigned long flags) {
    if (mkdir(at, 0755) && errno != EEXIST) die(at);
    if (mount(type, at, type, flags, options)) die(at);
}

static void make_mounts(void) {
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const int numbers[] = {3, 5, 7, 8, 9, 0};
    char path[160], options[160];
    attached("tmpfs", "dev", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME);
    attached("devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620", MS_NOSUID | MS_NOEXEC);
    attached("tmpfs", "dev/shm", "mode=1777,size=65536k", MS_NOSUID | MS_NODEV | MS_NOEXEC);
    attached("mqueue", "dev/mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC);
    attached("sysfs", "sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY);
    if (unified) attached("cgroup2", "sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY);
    else {
        attached("tmpfs", "sys/fs/cgroup", "mode=755", MS_NOSUID | MS_NODEV | MS_NOEXEC);
        for (int i = 0; i < tree_count; i++) {
            const char *name = strrchr(trees[i], '/') + 1;
            snprintf(path, sizeof path, "sys/fs/cgroup/%s", name);
            snprintf(options, sizeof options, "%s%s", strcmp(name, "systemd") ? "" : "name=", name);
            if (mkdir(path, 0755) || mount("cgroup", path, "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, options)) die(path);
        }
    }
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "dev/%s", nodes[i]);
        if (mknod(path, S_IFCHR | 0666, makedev(i == 5 ? 5 : 1, numbers[i])) || chmod(path, 0666)) die(path);
    }
    static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"}, {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}};
    for (int i = 0; i < 5; i++)
        if (symlink(links[i][0], links[i][1])) die(links[i][1]);
}

static void make_masks(void) {
    static const char *const hidden[] = {"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
                                         "proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi"};
    static const char *const fixed[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    struct stat there;
    for (int i = 0; i < 10; i++) {
        if (stat(hidden[i], &there)) continue;
        if (S_ISDIR(there.st_mode) ? mount("tmpfs", hidden[i], "tmpfs", MS_RDONLY, NULL) : mount("/dev/null", hidden[i], NULL, MS_BIND, NULL)) die(hidden[i]);
    }
    for (int i = 0; i < 5; i++) {
        if (stat(fixed[i], &there)) continue;
        if (mount(fixed[i], fixed[i], NULL, MS_BIND | MS_REC, NULL)) die(fixed[i]);
        if (mount(NULL, fixed[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) die(fixed[i]);
    }
}

static void drop_privileges(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    for (int number = 1; number < 65; number++) signal(number, SIG_DFL);
    setsid();
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    for (int number = 0; number <= 40; number++)
        if (number != CAP_KILL && number != CAP_AUDIT_WRITE && number != CAP_NET_BIND_SERVICE) prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    syscall(SYS_setgroups, 0, NULL); syscall(SYS_setresgid, 0, 0, 0); syscall(SYS_setresuid, 0, 0, 0);
    data[0].effective = data[0].permitted = 1u << CAP_KILL | 1u << CAP_AUDIT_WRITE | 1u << CAP_NET_BIND_SERVICE;
    if (syscall(SYS_capset, &header, data)) die("capset");
}

/* Docker's profile becomes 661 instructions as a tree (a row of comparisons costs four times as much: the kernel tries each call
 * once when it is loaded). Which calls it refuses does not matter for that. */
enum { LEAVES = 300 };
static struct sock_filter code[4 * LEAVES];
static unsigned length;

static void branch(unsigned low, unsigned high) {
    if (high - low == 1) {
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, high == LEAVES ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW);
        return;
    }
    unsigned middle = (low + high) / 2, at = length++;
    branch(low, middle);
    unsigned left = length - at - 1;
    if (left < 256) code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 2 * middle, left, 0);
    else {
        memmove(code + at + 2, code + at + 1, left * sizeof *code);
        length++;
        code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 2 * middle, 0, 1);
        code[at + 1] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, left);
    }
    branch(middle, high);
}

static void load_filter(void) {
    unsigned count;
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    branch(0, LEAVES);
    count = length;
    length = 0;
    struct sock_fprog program = {.len = count, .filter = code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program)) die("seccomp");
}

static void child(int go, const char *lower, const char *scratch, char *program, const int *groups) {
    char byte, options[2048], merged[400];
    if (duties & CGROUP && !unified) {
        for (int i = 0; i < tree_count; i++)
            if (write(groups[i], "0", 1) != 1) die("tasks");
    }
    if (duties & CGROUP && unshare(CLONE_NEWCGROUP)) die("unshare");
    snprintf(merged, sizeof merged, "%s/merged", scratch);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, scratch, scratch);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("private");
    if (mount("overlay", merged, "overlay", 0, options)) die("overlay");
    if (chdir(merged)) die("chdir");
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) die("proc");
    if (duties & MOUNTS) make_mounts();
    if (duties & MASKS) make_masks();
    if (syscall(SYS_pivot_root, ".", ".")) die("pivot_root");
    if (umount2(".", MNT_DETACH)) die("umount");
    if (duties & SECCOMP) load_filter(); /* while that is permitted without the promise of no new privileges */
    if (duties & CAPS) drop_privileges();
    if (read(go, &byte, 1) != 0) die("go"); /* end of file: the parent is done */
    char *argv[] = {program, "true", NULL}, *env[] = {NULL};
    execve(program, argv, env);
    die("execve");
}

/* A step of a runtime is a process that is executed, and here ends at once. */
static void step(char **argv) {
    static char *env[] = {NULL};
    pid_t pid;
    int status;
    char *words[] = {argv[0], "-", NULL};
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, words, env) || waitpid(pid, &status, 0) != pid) die("step");
}

static void again(char **argv) {
    static char *env[] = {NULL};
    pid_t pid = vfork();
    if (pid == 0) {
        struct mount_attr { unsigned long set, clear, propagation, userns; } fixed = {.set = 1};
        int tree = syscall(SYS_open_tree, AT_FDCWD, "/proc/self/exe", 1 | O_CLOEXEC);
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &fixed, sizeof fixed);
        char *words[] = {argv[0], "-", NULL};
        syscall(SYS_execveat, tree, "", words, env, AT_EMPTY_PATH);
        _exit(125);
    }
    if (waitpid(pid, NULL, 0) != pid) die("again");
}

static void record(const char *scratch, int there) {
    static const char *const names[] = {"config.json", "state.json"};
    static char text[8192];
    char path[400];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        if (!there) { unlink(path); continue; }
        int f = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (f < 0 || write(f, text, i ? 1200 : sizeof text) < 0) die(path);
        close(f);
    }
}

static int compare(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return (x > y) - (x < y); }

static double used(void) {
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        struct rusage u;
        getrusage(i ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
        sum += (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
    }
    return sum;
}

static void choose(char *list) {
    for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
        int found = 0;
        for (int i = 0; i < 8; i++)
            if (!strcmp(word, DUTIES[i])) found = 1 << i;
        if (!found) { fprintf(stderr, "floor: no such duty: %s\n", word); exit(2); }
        duties |= found;
    }
}

int main(int argc, char **argv) {
    if (argc == 2) return 0; /* a step */
    if (argc != 6 && argc != 7) { fprintf(stderr, "usage: floor ROUNDS LOWERDIR SCRATCH veth|none PROGRAM [DUTY,...]\n"); return 2; }
    if (argc == 7) choose(argv[6]);
    if (duties & (CGROUP | MOUNTS)) find_trees();
    int rounds = atoi(argv[1]), veth = !strcmp(argv[4], "veth");
    double *times = calloc(rounds, sizeof *times);
    double before = used();
    int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    for (int i = 0; i < rounds; i++) {
        struct timespec a, b;
        char dir[300];
        int p[2], status, groups[MOST_TREES] = {0};
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (const char **d = (const char *[]){"", "/upper", "/work", "/merged", NULL}; *d; d++) {
            snprintf(dir, sizeof dir, "%s/%d%s", argv[3], i, *d);
            if (mkdir(dir, 0755)) die(dir);
        }
        snprintf(dir, sizeof dir, "%s/%d", argv[3], i);
        if (duties & STEPS) step(argv);
        if (duties & PROTECTED) again(argv);
        if (duties & CGROUP) make_groups(getpid() * 1000 + i, groups);
        if (pipe2(p, O_CLOEXEC)) die("pipe");
        struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP,
                                  .exit_signal = SIGCHLD};
        if (duties & CGROUP && unified) { args.flags |= CLONE_INTO_CGROUP; args.cgroup = groups[0]; }
        if (duties & CGROUP && !unified) args.flags &= ~(unsigned long long)CLONE_NEWCGROUP;
        pid_t pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid < 0) die("clone3");
        if (pid == 0) { close(p[1]); child(p[0], argv[2], dir, argv[5], groups); }
        close(p[0]);
        if (veth) make_veth(nl, pid);
        if (duties & STATE) record(dir, 1);
        if (duties & STEPS) step(argv);
        close(p[1]);
        if (waitpid(pid, &status, 0) != pid || status) { fprintf(stderr, "floor: status %d\n", status); return 1; }
        if (duties & STEPS) step(argv);
        if (duties & CGROUP) { for (int t = 0; t < tree_count; t++) close(groups[t]); remove_groups(getpid() * 1000 + i); }
        if (duties & STATE) record(dir, 0);
        clock_gettime(CLOCK_MONOTONIC, &b);
        times[i] = (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
    }
    qsort(times, rounds, sizeof *times, compare);
    printf("%.0f %.0f\n", times[rounds / 2], (used() - before) / rounds);
    return 0;
}
