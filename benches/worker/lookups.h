/* Commands about keys instead of bytes; only the store serves them. */
#ifndef BENCH_LOOKUPS_H
#define BENCH_LOOKUPS_H

#include "session.h"

/* fill count= batch=: puts that many further small objects, of one page each. */
int lookups_fill(session_t *session, const command_t *command);

/* contains count= hits=1|0 seed=: lookups of stored or of unknown keys in no order, in this thread. */
int lookups_contains(session_t *session, const command_t *command);

/* prefix count= chain= seed=: chains of stored keys, all of which match. */
int lookups_prefix(session_t *session, const command_t *command);

/* memory: resident bytes of this process. */
int lookups_memory(void);

#endif
