/* The numbers are pinned: programs carry them compiled in. They have to work in the preprocessor too. */
#include <nixl_store.h>

#if NIXL_STORE_ABI_VERSION != 0
#error "soname and ABI version go together"
#endif

#if NIXL_STORE_OK != 0 || NIXL_STORE_NOT_FOUND != 1 || NIXL_STORE_IN_PROGRESS != 2 || NIXL_STORE_PINNED != 3
#error "an answer changed its number"
#endif

#if NIXL_STORE_ERROR_INVALID_ARGUMENT != -1 || NIXL_STORE_ERROR_INVALID_HANDLE != -2 || \
    NIXL_STORE_ERROR_CONFIG != -3 || NIXL_STORE_ERROR_UNSUPPORTED != -4 || NIXL_STORE_ERROR_IO != -5 || \
    NIXL_STORE_ERROR_NO_SPACE != -6 || NIXL_STORE_ERROR_POOL_FULL != -7 || NIXL_STORE_ERROR_BUFFER_TOO_SMALL != -8 || \
    NIXL_STORE_ERROR_TOO_LARGE != -9 || NIXL_STORE_ERROR_OUT_OF_RANGE != -10 || NIXL_STORE_ERROR_BUSY != -11 || \
    NIXL_STORE_ERROR_TIMED_OUT != -12 || NIXL_STORE_ERROR_CANCELLED != -13 || NIXL_STORE_ERROR_CLOSING != -14 || \
    NIXL_STORE_ERROR_LOCKED != -15 || NIXL_STORE_ERROR_FORMAT != -16 || NIXL_STORE_ERROR_PERMISSION != -17 || \
    NIXL_STORE_ERROR_OUT_OF_MEMORY != -18 || NIXL_STORE_ERROR_POISONED != -19 || NIXL_STORE_ERROR_FORKED != -20 || \
    NIXL_STORE_ERROR_INTERNAL != -21 || NIXL_STORE_ERROR_NO_RESULT != -22
#error "an error changed its number"
#endif

#if NIXL_STORE_KEY_BYTES_MAX != 1024 || NIXL_STORE_NAMESPACE_BYTES_MAX != 255 || \
    NIXL_STORE_BATCH_ITEMS_MAX != 65536 || NIXL_STORE_SEGMENTS_PER_ITEM_MAX != 65536 || \
    NIXL_STORE_CONFIG_BYTES_MAX != 1048576 || NIXL_STORE_TIMEOUT_INFINITE != UINT64_MAX || \
    NIXL_STORE_DEADLINE_DEFAULT != 0 || NIXL_STORE_DEADLINE_NONE != UINT64_MAX
#error "a limit changed"
#endif

#if NIXL_STORE_MEMORY_AUTO != 0 || NIXL_STORE_MEMORY_HOST != 1 || NIXL_STORE_MEMORY_CUDA != 2 || \
    NIXL_STORE_ITEM_RANGE != 1 || NIXL_STORE_ITEM_EXACT != 2 || NIXL_STORE_ITEM_KEEP != 4 || \
    NIXL_STORE_ITEM_FRONT != 8 || NIXL_STORE_ITEMS_ALL != SIZE_MAX || NIXL_STORE_SUBMIT_CHAIN != 1 || \
    NIXL_STORE_SUBMIT_AFTER_STREAM != 2 || NIXL_STORE_SUBMIT_BEFORE_STREAM != 4 || NIXL_STORE_LOG_ERROR != 1 || NIXL_STORE_LOG_WARN != 2 || \
    NIXL_STORE_LOG_INFO != 3 || NIXL_STORE_LOG_DEBUG != 4
#error "a kind, flag or level changed"
#endif

/* The version comes in numbers, for the preprocessor, and in words, for people; both are the same. */
#define WORDS(number) #number
#define VERSION_OF(major, minor, patch) WORDS(major) "." WORDS(minor) "." WORDS(patch)
extern const char version_in_words[sizeof NIXL_STORE_VERSION_STRING];
const char version_in_words[sizeof NIXL_STORE_VERSION_STRING] =
    VERSION_OF(NIXL_STORE_VERSION_MAJOR, NIXL_STORE_VERSION_MINOR, NIXL_STORE_VERSION_PATCH);
