/* The bytes of bodies: stretches of one file in memory, into which sockets are read and from which sendfile() hands
 * pages to a socket without copying them. What all bodies together may take is bounded at start.
 *
 * Bytes that were sent are still those of the file until the receiver took them, so a body that was sent must not be
 * released before the client has asked for something else: whoever sends keeps a share of it until then. */
#ifndef S3_MEMORY_BODY_H
#define S3_MEMORY_BODY_H

#include <stddef.h>
#include <sys/types.h>

typedef struct body body_t;

/* Makes the file. Returns 0, or -1 with errno. */
int bodies_create(size_t bytes_max);

/* Room for that many bytes, shared once; NULL if there is none. */
body_t *body_new(size_t bytes);

unsigned char *body_start(const body_t *body);

body_t *body_share(body_t *body);

/* Gives one share back, the last one the room. NULL is nothing. */
void body_release(body_t *body);

/* Sends a stretch; returns 0, or -1 with errno. */
int body_send(const body_t *body, size_t offset, size_t bytes, int socket);

/* Bytes that bodies take now. */
size_t bodies_bytes(void);

#endif
