/*
 * The load of the benchmark: a target, and clients that go to it through a SOCKS 5
 * proxy, or straight (proxy port 0), to show that neither is what is measured.
 *
 *   load target                               prints its TCP and UDP port; ends with its input
 *   load connect PROXY TARGET AT_ONCE SECONDS    CONNECT, one octet there and back, end
 *   load bulk    PROXY TARGET RELAYS  SECONDS    downloads
 *   load echo    PROXY TARGET RELAYS  SECONDS    64 octets there and back
 *   load udp     PROXY TARGET AHEAD   SECONDS    64-octet datagrams there and back
 *   load idle    PROXY TARGET RELAYS  0          opens relays, says how many, ends with its input
 *
 * Everything is on loopback addresses.  One line of numbers comes out, as NAME=VALUE;
 * count and mb are of the whole time, as the processor time of a server is.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTING, SELECTED, REPLIED, BUSY };
enum { EVENTS = 512, CHUNK = 1 << 18, SAMPLES = 1 << 22, DESCRIPTORS = 1 << 17 };
/*
 * Addresses that clients connect from and to in turn, and it is the target that ends a
 * connection first: else the ports of clients and of proxies are soon all in TIME_WAIT,
 * and the search for a free one is measured.
 */
enum { ADDRESSES = 32 };

struct connection {
    int stage;
    int got;
    double begun;
};

static struct connection connections[DESCRIPTORS];
static uint32_t samples[SAMPLES]; /* microseconds */
static size_t sampled;
static char chunk[CHUNK];
static int poller, proxy, target;
static long done, failed, before;
static double octets, octets_before;
static unsigned dialled;
static int holding; /* a refusal is counted, and no error */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in address(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* One of 127.0.0.1 and those after it. */
static struct sockaddr_in turn(unsigned number, int port) {
    struct sockaddr_in a = address(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % ADDRESSES);
    return a;
}

static void watch(int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || fd >= DESCRIPTORS) die("socket");
    no_delay(fd);
    int one = 1;
    struct sockaddr_in from = turn(dialled++, 0), a = address(proxy ? proxy : target);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) die("bind");
    if (connect(fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS) die("connect");
    connections[fd] = (struct connection){.stage = CONNECTING, .begun = now()};
    watch(fd, EPOLLIN | EPOLLOUT | EPOLLET);
    return fd;
}

static void put(int fd, const void *data, size_t size) {
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) failed++;
}

static void greet(int fd) { put(fd, "\5\1\0", 3); }

static void request(int fd) {
    unsigned char r[10] = {5, 1, 0, 1, 127, 0, 0, 1 + dialled % ADDRESSES};
    r[8] = target >> 8;
    r[9] = target & 255;
    put(fd, r, sizeof r);
}

/* Go on with a handshake; whether the relay stands. */
static int shake(int fd) {
    struct connection *c = &connections[fd];
    char in[16];
    if (c->stage == CONNECTING) {
        int error;
        socklen_t size = sizeof error;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            errno = error;
            die("connecting");
        }
        if (!proxy) {
            c->stage = BUSY;
            return 1;
        }
        greet(fd);
        c->stage = SELECTED;
        c->got = 0;
        return 0; /* what is asked for now is not there yet */
    }
    while (c->stage == SELECTED || c->stage == REPLIED) {
        int wanted = c->stage == SELECTED ? 2 : 10;
        ssize_t n = recv(fd, in, wanted - c->got, 0);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n <= 0 || (c->got < 2 && c->got + n >= 2 && in[1 - c->got] != 0)) {
            if (holding) {
                failed++;
                close(fd);
                return 0;
            }
            fprintf(stderr, "the proxy refused\n");
            exit(1);
        }
        c->got += n;
        if (c->got < wanted) continue;
        c->got = 0;
        if (c->stage == SELECTED) {
            request(fd);
            c->stage = REPLIED;
            return 0;
        }
        c->stage = BUSY;
        return 1;
    }
    return c->stage == BUSY;
}

static void sample(double seconds) {
    if (sampled < SAMPLES) samples[sampled++] = seconds * 1e6;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void say(double seconds, long count) {
    qsort(samples, sampled, sizeof *samples, ascending);
    double p50 = sampled ? samples[sampled / 2] / 1e3 : 0;
    double p99 = sampled ? samples[sampled * 99 / 100] / 1e3 : 0;
    printf("per_second=%.1f mb_per_second=%.1f p50_ms=%.3f p99_ms=%.3f", count / seconds,
           octets / seconds / 1e6, p50, p99);
    printf(" count=%ld mb=%.1f failed=%ld\n", before + count, (octets_before + octets) / 1e6, failed);
}

/* From here on it counts. */
static double start_counting(void) {
    before = done;
    octets_before = octets;
    done = sampled = 0;
    octets = 0;
    return now();
}

/* What a client does once its relay stands, and whenever something comes. */
static void connects(int fd, int fresh) {
    char in;
    if (fresh) {
        put(fd, "c", 1);
        return;
    }
    struct connection *c = &connections[fd];
    ssize_t n = recv(fd, &in, 1, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n == 1) {
        sample(now() - c->begun);
        c->got = 1;
        n = recv(fd, &in, 1, 0);
        if (n < 0 && errno == EAGAIN) return;
    }
    if (n || !c->got) failed++;
    done++;
    close(fd);
    dial();
}

static void bulk(int fd, int fresh) {
    if (fresh) {
        put(fd, "b", 1);
        /* Level-triggered: each relay gets its turn, and none is forgotten. */
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e);
    }
    /* TCP throws the octets away uncopied: the processor is for the proxy. */
    ssize_t n = recv(fd, chunk, 4 * CHUNK, MSG_TRUNC);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        fprintf(stderr, "a download ended\n");
        exit(1);
    }
    octets += n;
}

static void echoes(int fd, int fresh) {
    struct connection *c = &connections[fd];
    char in[64];
    if (fresh) {
        put(fd, "e", 1);
        memset(in, 'x', sizeof in);
        put(fd, in, sizeof in);
        c->begun = now();
    }
    for (;;) {
        ssize_t n = recv(fd, in, sizeof in - c->got, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            fprintf(stderr, "an echo ended\n");
            exit(1);
        }
        c->got += n;
        if (c->got < (int)sizeof in) continue;
        c->got = 0;
        done++;
        double t = now();
        sample(t - c->begun);
        c->begun = t;
        memset(in, 'x', sizeof in);
        put(fd, in, sizeof in);
    }
}

static void idles(int fd, int fresh) {
    (void)fd;
    done += fresh;
}

static void run(void (*client)(int, int), int at_once, double seconds) {
    struct epoll_event events[EVENTS];
    for (int i = 0; i < at_once; i++) dial();
    /* A tenth to get going is not counted. */
    double begun = now(), counted = begun + seconds / 10, end = counted + seconds;
    int counting = 0;
    while (now() < end) {
        int n = epoll_wait(poller, events, EVENTS, 100);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            int was = connections[fd].stage == BUSY;
            if (was || shake(fd)) client(fd, !was);
        }
        if (!counting && now() > counted) {
            counting = 1;
            counted = start_counting();
        }
    }
    say(now() - counted, done);
}

static void hold(int relays) {
    struct epoll_event events[EVENTS];
    int begun = 0;
    holding = 1;
    /* A proxy that opens none for so long will not open any more. */
    double end = now() + 10;
    while (done + failed < relays && now() < end) {
        long were = done;
        while (begun < relays && begun - done - failed < 64) {
            dial();
            begun++;
        }
        int n = epoll_wait(poller, events, EVENTS, 100);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            int was = connections[fd].stage == BUSY;
            if (!was && shake(fd)) idles(fd, 1);
        }
        if (done > were) end = now() + 10;
    }
    printf("relays=%ld failed=%ld\n", done, failed);
    fflush(stdout);
    if (read(0, chunk, 1) < 0) die("read");
}

/* Datagrams, blocking: one association, AHEAD datagrams on their way. */
static void datagrams(int ahead, double seconds, int port) {
    int control = -1;
    struct sockaddr_in to = address(port);
    unsigned char out[74] = {0, 0, 0, 1, 127, 0, 0, 1, port >> 8, port & 255};
    int head = 0;
    if (proxy) {
        control = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in a = address(proxy);
        unsigned char in[16];
        if (connect(control, (struct sockaddr *)&a, sizeof a)) die("connect");
        greet(control);
        if (recv(control, in, 2, MSG_WAITALL) != 2) die("selection");
        unsigned char r[10] = {5, 3, 0, 1, 0, 0, 0, 0, 0, 0};
        put(control, r, sizeof r);
        if (recv(control, in, 10, MSG_WAITALL) != 10 || in[1]) die("reply");
        to = address(in[8] << 8 | in[9]);
        head = 10;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in any = address(0);
    struct timeval patience = {.tv_usec = 200000};
    if (bind(fd, (struct sockaddr *)&any, sizeof any)) die("bind");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const void *data = proxy ? out : out + 10;
    int way = 0;
    double counted = now() + seconds / 10, end = counted + seconds;
    int counting = 0;
    while (now() < end) {
        for (; way < ahead; way++)
            if (sendto(fd, data, head + 64, 0, (struct sockaddr *)&to, sizeof to) < 0) die("sendto");
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n < 0) {
            failed += way; /* they are lost */
            way = 0;
            continue;
        }
        way--;
        done++;
        if (!counting && now() > counted) {
            counting = 1;
            counted = start_counting();
        }
    }
    say(now() - counted, done);
}

/* The target: the first octet says what a connection is for. */
static void serve(void) {
    int first = 0, last = 0;
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = address(0), b = address(0);
    socklen_t size = sizeof a;
    int room = 1 << 22;
    for (int i = 0; i < ADDRESSES; i++) {
        last = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        a = turn(i, ntohs(a.sin_port));
        if (bind(last, (struct sockaddr *)&a, size) || listen(last, 4096)) die("listen");
        getsockname(last, (struct sockaddr *)&a, &size);
        if (!i) first = last;
        watch(last, EPOLLIN);
    }
    if (bind(udp, (struct sockaddr *)&b, size)) die("bind");
    setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    getsockname(udp, (struct sockaddr *)&b, &size);
    printf("tcp=%d udp=%d\n", ntohs(a.sin_port), ntohs(b.sin_port));
    fflush(stdout);
    watch(udp, EPOLLIN);
    watch(0, EPOLLIN);
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) return;
            if (fd >= first && fd <= last) {
                int accepted;
                for (int k = 0; k < 64; k++) {
                    accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
                    if (accepted < 0) break;
                    if (accepted >= DESCRIPTORS) exit(1);
                    no_delay(accepted);
                    connections[accepted].stage = 0;
                    watch(accepted, EPOLLIN);
                }
                continue;
            }
            if (fd == udp) {
                for (int k = 0; k < 64; k++) {
                    socklen_t from = sizeof b;
                    ssize_t got = recvfrom(udp, chunk, CHUNK, 0, (struct sockaddr *)&b, &from);
                    if (got < 0) break;
                    sendto(udp, chunk, got, 0, (struct sockaddr *)&b, from);
                }
                continue;
            }
            struct connection *c = &connections[fd];
            if (c->stage == 'b' && events[i].events & EPOLLOUT) {
                static char zeros[CHUNK];
                if (send(fd, zeros, CHUNK, MSG_NOSIGNAL) < 0 && errno != EAGAIN) close(fd);
                continue;
            }
            ssize_t got = recv(fd, chunk, CHUNK, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) {
                close(fd);
                continue;
            }
            char *data = chunk;
            if (!c->stage) {
                c->stage = chunk[0];
                if (c->stage == 'b') {
                    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
                    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e);
                    continue;
                }
                if (c->stage == 'e') data++, got--;
            }
            if ((got && send(fd, data, got, MSG_NOSIGNAL) != got) || c->stage == 'c') close(fd);
        }
    }
}

int main(int argc, char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poller = epoll_create1(0);
    if (argc == 2 && !strcmp(argv[1], "target")) {
        serve();
        return 0;
    }
    if (argc != 6) {
        fprintf(stderr, "load: see the beginning of load.c\n");
        return 2;
    }
    proxy = atoi(argv[2]);
    target = atoi(argv[3]);
    int count = atoi(argv[4]);
    double seconds = atof(argv[5]);
    if (!strcmp(argv[1], "connect")) run(connects, count, seconds);
    else if (!strcmp(argv[1], "bulk")) run(bulk, count, seconds);
    else if (!strcmp(argv[1], "echo")) run(echoes, count, seconds);
    else if (!strcmp(argv[1], "udp")) datagrams(count, seconds, target);
    else if (!strcmp(argv[1], "idle")) hold(count);
    else return 2;
    return 0;
}
