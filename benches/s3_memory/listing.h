/* ListObjectsV2 and ListMultipartUploads, as XML. */
#ifndef S3_MEMORY_LISTING_H
#define S3_MEMORY_LISTING_H

#include "answer.h"

/* Both answer the request; -1 when the connection is of no use any more. */
int listing_objects(const exchange_t *exchange, const char *bucket);
int listing_uploads(const exchange_t *exchange, const char *bucket);

#endif
