/* Stands between a program and the C library: writes down whom it asks for and where it sends, beyond this machine. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what, const char *whom) {
  const char *path = getenv("EAVESDROP");
  char line[512];
  int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
  if (file < 0) return;
  int length = snprintf(line, sizeof line, "%s %s\n", what, whom);
  if (write(file, line, length) < 0) { /* nobody to tell */ }
  close(file);
}

static void note_address(const char *what, const struct sockaddr *to) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (!to) return;
  if (to->sa_family == AF_INET) {
    const struct sockaddr_in *four = (const void *)to;
    if ((ntohl(four->sin_addr.s_addr) >> 24) == 127) return;
    inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
  } else if (to->sa_family == AF_INET6) {
    const struct sockaddr_in6 *six = (const void *)to;
    if (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr)) return;
    inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
  } else {
    return;
  }
  note(what, text);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  if (!real) real = dlsym(RTLD_NEXT, "getaddrinfo");
  if (node && strcmp(node, "localhost") && strncmp(node, "127.", 4) && strcmp(node, "::1")) note("asked-for", node);
  return real(node, service, hints, found);
}

int connect(int descriptor, const struct sockaddr *to, socklen_t length) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  if (!real) real = dlsym(RTLD_NEXT, "connect");
  note_address("connected-to", to);
  return real(descriptor, to, length);
}

ssize_t sendto(int descriptor, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
  static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
  if (!real) real = dlsym(RTLD_NEXT, "sendto");
  note_address("sent-to", to);
  return real(descriptor, data, size, flags, to, length);
}
