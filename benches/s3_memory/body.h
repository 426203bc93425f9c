/* The bytes of bodies: stretches of one mapping, into which sockets are read and from which they are sent. What all
 * bodies together may take is bounded at start.
 *
 * They are sent by a copy. sendfile() from a file in memory saves the server that copy, but clients on the same machine
 * then took 1.3 to 1.7 times the processor for the same bytes, and they are what is measured. */
#ifndef S3_MEMORY_BODY_H
#define S3_MEMORY_BODY_H

#include <stddef.h>

typedef struct body body_t;

/* Makes the mapping. Returns 0, or -1 with errno. */
int bodies_create(size_t bytes_max);

/* Room for that many bytes, shared once; NULL if there is none. */
body_t *body_new(size_t bytes);

unsigned char *body_start(const body_t *body);

body_t *body_share(body_t *body);

/* Gives one share back, the last one the room. NULL is nothing. */
void body_release(body_t *body);

/* Bytes that bodies take now. */
size_t bodies_bytes(void);

#endif
