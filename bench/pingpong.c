/* One byte to and fro over one TCP connection: what a way through the network costs.
   pingpong serve PORT | pingpong ask ADDRESS PORT ROUNDS   (prints the median round trip in microseconds) */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte = 0;
    struct sockaddr_in at = {.sin_family = AF_INET};
    if (argc == 3 && !strcmp(argv[1], "serve")) {
        at.sin_port = htons(atoi(argv[2]));
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&at, sizeof at) || listen(fd, 8)) return perror("listen"), 1;
        for (;;) {
            int c = accept(fd, NULL, NULL);
            setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            while (read(c, &byte, 1) == 1 && write(c, &byte, 1) == 1) {}
            close(c);
        }
    }
    if (argc != 5 || strcmp(argv[1], "ask")) return fprintf(stderr, "serve PORT | ask ADDRESS PORT ROUNDS\n"), 2;
    at.sin_port = htons(atoi(argv[3]));
    inet_pton(AF_INET, argv[2], &at.sin_addr);
    if (connect(fd, (void *)&at, sizeof at)) return perror("connect"), 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int rounds = atoi(argv[4]), warm = rounds / 10;
    double *times = calloc(rounds, sizeof *times);
    for (int i = -warm; i < rounds; i++) {
        double begin = now();
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) return perror("ask"), 1;
        if (i >= 0) times[i] = now() - begin;
    }
    qsort(times, rounds, sizeof *times, by_value);
    printf("%.3f\n", times[rounds / 2]);
    return 0;
}
