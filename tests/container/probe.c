/* What somebody could try who runs code of his own inside the container. The image has no shell to try it with, so
 * the tests mount this program, linked statically, and start it with the settings of the service.
 *
 * Each command prints one line per attempt, `NAME RESULT`: the result is `allowed`, `denied ERRNO` or a number.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, int denied) {
    if (denied)
        printf("%s denied %s\n", name, strerrorname_np(denied));
    else
        printf("%s allowed\n", name);
    fflush(stdout);
}

static int create(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (fd < 0)
        return errno;
    int failed = write(fd, "x", 1) == 1 ? 0 : errno;
    close(fd);
    unlink(path);
    return failed;
}

static int writes(const char *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

/* Copies this program into /tmp and becomes the copy, which then says so. */
static int become_copy(void) {
    char buffer[65536];
    ssize_t n;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open("/tmp/copy", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (from < 0 || to < 0)
        return errno;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)n) != n)
            return errno;
    close(from);
    close(to);
    execl("/tmp/copy", "/tmp/copy", "started", NULL);
    return errno;
}

static void files(void) {
    const char *places[] = {"/", "/usr/local/bin", "/etc", "/home/nonroot", "/var", "/var/tmp", "/run", "/run/secrets", "/dev", "/dev/shm", "/proc", "/sys", "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char name[128], path[128];
        snprintf(path, sizeof path, "%s/probe", strcmp(places[i], "/") ? places[i] : "");
        snprintf(name, sizeof name, "create-in:%s", places[i]);
        say(name, create(path));
    }
    const char *existing[] = {"/usr/local/bin/api", "/etc/passwd", "/run/secrets/API_KEYS", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/mm/transparent_hugepage/enabled"};
    for (size_t i = 0; i < sizeof existing / sizeof *existing; i++) {
        char name[128];
        snprintf(name, sizeof name, "write-to:%s", existing[i]);
        say(name, writes(existing[i]));
    }
    say("start-from:/tmp", become_copy());
}

/* What the filter of system calls has to stop, though some of it would fail without one, too. */
static void calls(void) {
    errno = 0; say("unshare-user", unshare(CLONE_NEWUSER) ? errno : 0);
    errno = 0; say("mount", mount("none", "/tmp", "tmpfs", 0, "") ? errno : 0);
    errno = 0; say("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0) ? errno : 0);
    errno = 0; say("bpf", syscall(SYS_bpf, 0, 0, 0) < 0 ? errno : 0);
    errno = 0; say("keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0) < 0 ? errno : 0);
    errno = 0; say("perf-event-open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0) < 0 ? errno : 0);
    errno = 0; say("io-uring", syscall(SYS_io_uring_setup, 1, 0) < 0 ? errno : 0);
    errno = 0; say("userfaultfd", syscall(SYS_userfaultfd, 1) < 0 ? errno : 0);
    errno = 0; say("memfd", syscall(SYS_memfd_create, "probe", 0) < 0 ? errno : 0);
    errno = 0; say("process-vm-readv", syscall(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0) < 0 ? errno : 0);
    errno = 0; say("raw-socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 ? errno : 0);
    errno = 0; say("packet-socket", socket(AF_PACKET, SOCK_RAW, 0) < 0 ? errno : 0);
    errno = 0; say("setuid-root", setuid(0) ? errno : 0);
    errno = 0; say("chown", chown("/tmp", 0, 0) ? errno : 0);
    errno = 0; say("mknod", mknod("/tmp/disk", S_IFBLK | 0600, 0xfd00) ? errno : 0);
    errno = 0; say("symlink", symlink("/etc/passwd", "/tmp/link") ? errno : 0);
    errno = 0; say("chmod-setuid", chmod("/tmp", 04777) ? errno : 0);
}

static void *sleeper(void *unused) {
    poll(NULL, 0, -1);
    return unused;
}

static void threads(int wanted) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    for (int i = 0; i < wanted; i++) {
        pthread_t thread;
        int failed = pthread_create(&thread, &attr, sleeper, NULL);
        if (failed) {
            printf("threads %d\n", i);
            say("one-thread-more", failed);
            _exit(0);
        }
    }
    printf("threads %d\n", wanted);
    say("one-thread-more", 0);
    _exit(0);
}

/* Touches every page, so that the memory is used and not only promised. */
static void memory(long mebibytes) {
    for (long i = 1; i <= mebibytes; i++) {
        char *block = malloc(1 << 20);
        if (!block) {
            say("memory", errno);
            return;
        }
        memset(block, (int)i, 1 << 20);
    }
    printf("memory allowed\n");
}

static void descriptors(void) {
    int n = 0;
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        n++;
    printf("descriptors %d\n", n);
    say("one-descriptor-more", errno);
}

static void connects(const char *ip, const char *port) {
    char name[128];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    inet_pton(AF_INET, ip, &to.sin_addr);
    snprintf(name, sizeof name, "connect:%s:%s", ip, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        say(name, errno);
        return;
    }
    int failed = connect(fd, (struct sockaddr *)&to, sizeof to) ? errno : 0;
    if (failed == EINPROGRESS) {
        struct pollfd waiting = {.fd = fd, .events = POLLOUT};
        if (poll(&waiting, 1, 3000) == 0)
            failed = ETIMEDOUT;
        else {
            socklen_t size = sizeof failed;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size);
        }
    }
    say(name, failed);
    close(fd);
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "files"))
        files();
    else if (!strcmp(command, "calls"))
        calls();
    else if (!strcmp(command, "threads") && argc == 3)
        threads(atoi(argv[2]));
    else if (!strcmp(command, "memory") && argc == 3)
        memory(atol(argv[2]));
    else if (!strcmp(command, "descriptors"))
        descriptors();
    else if (!strcmp(command, "connect")) {
        for (int i = 2; i + 1 < argc; i += 2)
            connects(argv[i], argv[i + 1]);
    } else if (!strcmp(command, "started"))
        say("start-from:/tmp", 0);
    else {
        fprintf(stderr, "probe: one of files, calls, threads N, memory N, descriptors, connect IP PORT..\n");
        return 2;
    }
    return 0;
}
