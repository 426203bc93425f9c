// SPDX-License-Identifier: Apache-2.0
//
// nixl-store for C++17 and later: nixl_store.h with owners, spans and results that cannot be ignored.
//
// Header only, no dependency but nixl_store.h and the library (-lnixl_store). It needs neither exceptions nor RTTI.
// nixl_store.h is the reference of what each call does and which statuses it has; here stands what C++ adds.
//
//
// QUICKSTART
//
//     #include <nixl_store.hpp>
//     #include <cstdio>
//
//     int main() try {
//         auto store = nixl_store::store::open("lmcache.yaml").or_throw();
//         store.put("greeting", std::string_view("hello")).or_throw();
//
//         char text[16];
//         const std::size_t length = store.get("greeting", text).or_throw();
//         std::printf("%.*s\n", static_cast<int>(length), text);
//         store.close().or_throw();
//     } catch (const nixl_store::exception &error) {
//         std::fprintf(stderr, "%s\n", error.what());
//         return 1;
//     }
//
// Many objects at once, without exceptions, while the caller does something else:
//
//     nixl_store::get_batch gets;
//     for (Block &block : blocks)
//         gets.add(block.hash, {block.k, block.v});           // a key, and the spans that its bytes go to
//     auto ticket = store.submit_get(gets);
//     if (!ticket)
//         return complain(ticket.message());                  // nothing was submitted
//     compute();
//     std::vector<nixl_store::item_result> results;
//     const nixl_store::result<void> ended = ticket->wait(results);
//     if (ended.is_error())
//         complain(ended.message());                          // of the first item that failed
//     for (std::size_t index = 0; index < results.size(); ++index)
//         if (results[index].ok())                            // else not found, or what failed
//             use(blocks[index]);
//
//
// COMMON RULES: they hold for all that follows.
//
// RESULTS
//   Every call that can fail gives a result<T>, and the compiler warns where it is dropped. It is true if the status is
//   ok; then, and only then, it has the value. code() is the status: ok, a positive answer that is no error (not_found,
//   pinned, not_admitted, in_progress), or an error, of which message() says what to do. The message is the result's own
//   copy. To take the value of a result that has none ends the process with the message, never with undefined behaviour;
//   or_throw() throws instead, in programs that have exceptions. Nothing else here throws but std::bad_alloc.
// OWNERS
//   store, ticket, queue, pinned, pinned_keys, registration and allocation can be moved, not copied. One that was moved
//   from, or is done, owns nothing: its destructor does nothing, and its calls answer invalid_handle. Destructors swallow
//   errors and need no memory; close(), wait(), unpin(), unregister(), free() and destroy() tell them. Owners may outlive
//   their store, which has then released all that was left.
// MEMORY IN USE
//   From submit to completion the memory of a batch's segments is the library's. So the destructor of a ticket that was
//   not waited for WAITS: what was put is stored, and no byte of the memory is touched after it. cancel() first makes
//   that short. It therefore belongs behind the memory: declare a ticket after what its segments lie in.
// SPANS
//   Payloads are const_bytes (to put) and mutable_bytes (to get into), which are made of any contiguous container, array
//   or std::span of numbers or bytes, of std::string_view, or of an address and bytes. A string literal is refused, for
//   its NUL: say std::string_view("..."). The types are the same in every dialect, so that objects of several link.
// THREADS
//   As in C: a store may be used by many threads at a time, and its calls are const. Batches, keys and options are plain
//   objects, and a ticket is one thread's; another can end it early by store::cancel(). To move, assign, close or destroy
//   an owner takes a moment at which no other thread uses it.
// TIMES
//   Of std::chrono, rounded up to milliseconds. Negative timeouts do not wait.
// RAW
//   raw() is the C handle, for any call of nixl_store.h; release() hands it over, adopt() takes one.

#ifndef NIXL_STORE_HPP
#define NIXL_STORE_HPP

#include <nixl_store.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus < 201703L
#error "nixl_store.hpp needs C++17"
#endif

namespace nixl_store {
// An engine and its plugin may be compiled with different versions of this header, and share one libnixl_store.so: their
// classes must not meet. Until 1.0 a minor version may change them.
inline namespace v0_1 {

// ======== Statuses and results ========

/// How a call or an item ended. Numbers that are not named here may come: a negative one is an error.
enum class status : std::int32_t {
    ok = NIXL_STORE_OK,
    not_found = NIXL_STORE_NOT_FOUND,
    in_progress = NIXL_STORE_IN_PROGRESS,
    pinned = NIXL_STORE_PINNED,
    not_admitted = NIXL_STORE_NOT_ADMITTED,
    invalid_argument = NIXL_STORE_ERROR_INVALID_ARGUMENT,
    invalid_handle = NIXL_STORE_ERROR_INVALID_HANDLE,
    config = NIXL_STORE_ERROR_CONFIG,
    unsupported = NIXL_STORE_ERROR_UNSUPPORTED,
    io = NIXL_STORE_ERROR_IO,
    no_space = NIXL_STORE_ERROR_NO_SPACE,
    pool_full = NIXL_STORE_ERROR_POOL_FULL,
    buffer_too_small = NIXL_STORE_ERROR_BUFFER_TOO_SMALL,
    too_large = NIXL_STORE_ERROR_TOO_LARGE,
    out_of_range = NIXL_STORE_ERROR_OUT_OF_RANGE,
    busy = NIXL_STORE_ERROR_BUSY,
    timed_out = NIXL_STORE_ERROR_TIMED_OUT,
    cancelled = NIXL_STORE_ERROR_CANCELLED,
    closing = NIXL_STORE_ERROR_CLOSING,
    locked = NIXL_STORE_ERROR_LOCKED,
    format = NIXL_STORE_ERROR_FORMAT,
    permission = NIXL_STORE_ERROR_PERMISSION,
    out_of_memory = NIXL_STORE_ERROR_OUT_OF_MEMORY,
    poisoned = NIXL_STORE_ERROR_POISONED,
    forked = NIXL_STORE_ERROR_FORKED,
    internal = NIXL_STORE_ERROR_INTERNAL,
    no_result = NIXL_STORE_ERROR_NO_RESULT,
};

/// Such as "NIXL_STORE_NOT_FOUND". A constant string.
inline const char *name(status code) noexcept { return nixl_store_status_name(static_cast<std::int32_t>(code)); }

constexpr bool is_error(status code) noexcept { return static_cast<std::int32_t>(code) < 0; }

template <class T> class result;

/// What a call without a value gives: its status, and what went wrong.
template <> class [[nodiscard]] result<void> {
public:
    /// ok.
    result() noexcept = default;

    /// Of a call of the C interface that this thread just made.
    explicit result(nixl_store_status_t code) : code_(static_cast<status>(code))
    {
        if (code < 0)
            message_ = nixl_store_error_message();
    }

    status code() const noexcept { return code_; }
    explicit operator bool() const noexcept { return code_ == status::ok; }
    bool ok() const noexcept { return code_ == status::ok; }
    bool not_found() const noexcept { return code_ == status::not_found; }
    bool in_progress() const noexcept { return code_ == status::in_progress; }
    bool is_error() const noexcept { return nixl_store::is_error(code_); }

    /// What went wrong and what to do about it; "" if this is no error. For people.
    const std::string &message() const & noexcept { return message_; }
    std::string message() && { return std::move(message_); }

    /// The errno behind an error, where an item of a batch had one: of ticket::wait() with results. Else 0.
    int os_error() const noexcept { return os_error_; }

    /// Name and message: "NIXL_STORE_ERROR_IO: ...".
    std::string describe() const { return message_.empty() ? name(code_) : name(code_) + (": " + message_); }

    /// Throws nixl_store::exception if this is an error; else gives the status, which may be an answer.
    template <class Always = void> status or_throw() const;

private:
    friend class ticket;
    status code_ = status::ok;
    int os_error_ = 0;
    std::string message_;
};

namespace detail {

[[noreturn]] inline void die(const char *misuse, const char *why) noexcept
{
    std::fprintf(stderr, "nixl_store.hpp: %s: %s\n", misuse, why);
    std::abort();
}

#if defined(__cpp_exceptions)
template <class Always> [[noreturn]] void raise(const result<void> &failed);
#else
template <class Always> [[noreturn]] void raise(const result<void> &)
{
    static_assert(sizeof(Always *) == 0, "or_throw() needs exceptions: look at the result instead");
}
#endif

} // namespace detail

template <class Always> status result<void>::or_throw() const
{
    if (is_error())
        detail::raise<Always>(*this);
    return code_;
}

/// A value, if the status is ok; else the status alone. All of result<void> is here too.
template <class T> class [[nodiscard]] result : public result<void> {
public:
    result(T value) : value_(std::move(value)) {} // NOLINT: a value is a result
    result(result<void> other) : result<void>(std::move(other)) // NOLINT: so is what went wrong
    {
        if (ok())
            detail::die("a result of status ok was made without a value", name(code()));
    }

    /// The value. Without one the process ends with the message: look first.
    T &value() & { return checked(), *value_; }
    const T &value() const & { return checked(), *value_; }
    T value() && { return checked(), std::move(*value_); }
    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }
    template <class U> T value_or(U &&other) && { return value_ ? std::move(*value_) : T(std::forward<U>(other)); }
    template <class U> T value_or(U &&other) const & { return value_ ? *value_ : T(std::forward<U>(other)); }

    /// The value. Throws nixl_store::exception without one, which an answer such as not_found is too.
    T or_throw() &&
    {
        if (!value_)
            detail::raise<T>(*this);
        return std::move(*value_);
    }
    T &or_throw() &
    {
        if (!value_)
            detail::raise<T>(*this);
        return *value_;
    }
    const T &or_throw() const & { return const_cast<result &>(*this).or_throw(); }

    /// The value, or nothing after an answer that is no error, such as not_found. Throws after an error.
    std::optional<T> found_or_throw() &&
    {
        if (is_error())
            detail::raise<T>(*this);
        return std::move(value_);
    }

private:
    void checked() const
    {
        if (!value_)
            detail::die("the value of a result that has none was taken", describe().c_str());
    }

    std::optional<T> value_;
};

#if defined(__cpp_exceptions)
/// What or_throw() throws. what() is describe() of the result.
class exception : public std::exception {
public:
    explicit exception(const result<void> &failed) : failed_(failed), what_(failed.describe()) {}
    const char *what() const noexcept override { return what_.c_str(); }
    status code() const noexcept { return failed_.code(); }
    const std::string &message() const noexcept { return failed_.message(); }
    int os_error() const noexcept { return failed_.os_error(); }

private:
    result<void> failed_;
    std::string what_;
};

namespace detail {
template <class Always> [[noreturn]] void raise(const result<void> &failed) { throw exception(failed); }
} // namespace detail
#endif

// ======== Spans ========

class mutable_bytes;
class const_segment;
class segment;

namespace detail {

template <class T> using bare = std::remove_cv_t<std::remove_reference_t<T>>;

// What a contiguous container points to; void for what is none.
template <class C, class = void> struct element {
    using type = void;
};
template <class C>
struct element<C, std::void_t<decltype(std::declval<C &>().data()), decltype(std::declval<C &>().size())>> {
    using type = std::remove_pointer_t<decltype(std::declval<C &>().data())>;
};
template <class C> using element_t = typename element<std::remove_reference_t<C>>::type;

template <class T>
constexpr bool is_byte = std::is_same_v<std::remove_cv_t<T>, std::byte> ||
                         (std::is_integral_v<T> && sizeof(std::conditional_t<std::is_void_v<T>, int, T>) == 1);
// char, and char8_t, which C++17 cannot name: it is the one number of a byte that has none of the other names.
template <class T>
constexpr bool is_text = std::is_integral_v<T> && is_byte<T> && std::is_same_v<T, std::remove_cv_t<T>> &&
                         !std::is_same_v<T, signed char> && !std::is_same_v<T, unsigned char> && !std::is_same_v<T, bool>;
template <class T>
constexpr bool is_payload = std::is_arithmetic_v<T> || std::is_same_v<std::remove_cv_t<T>, std::byte>;

// A view may be a temporary, an owner may not: what it gives out would be gone before the batch has ended. A view that is
// const gives out no less than one that is not, and there is nothing to do when it ends.
template <class C>
constexpr bool is_view =
    std::is_same_v<element_t<bare<C>>, element_t<const bare<C>>> && std::is_trivially_destructible_v<bare<C>>;

template <class C>
constexpr bool is_source = is_payload<element_t<C>> && !std::is_same_v<bare<C>, mutable_bytes>;
template <class C> constexpr bool is_temporary_owner = !std::is_lvalue_reference_v<C> && !is_view<C>;
template <class C>
constexpr bool is_target = is_payload<element_t<C>> && !std::is_const_v<element_t<C>> && !is_temporary_owner<C>;

} // namespace detail

/// Objects that lie one after the other: std::span as far as it is needed here. It is made of a std::span, and one that has a
/// name makes a std::span.
template <class T> class span {
public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t n> constexpr span(T (&array)[n]) noexcept : data_(array), size_(n) {} // NOLINT: implicit
    template <class C, class = std::enable_if_t<
                           !std::is_same_v<detail::bare<C>, span> &&
                           std::is_convertible_v<std::remove_reference_t<detail::element_t<C>> (*)[], T (*)[]>>>
    constexpr span(C &&container) : data_(container.data()), size_(container.size()) // NOLINT: implicit
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    T &operator[](std::size_t index) const
    {
        if (index >= size_)
            detail::die("an index lies outside of its span", "see the caller");
        return data_[index];
    }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Bytes that are written by a get: host memory, or CUDA device memory by its address.
class mutable_bytes {
public:
    mutable_bytes(void *address, std::size_t bytes) noexcept : data_(static_cast<std::byte *>(address)), size_(bytes) {}
    template <class T, std::size_t n, class = std::enable_if_t<detail::is_payload<T> && !std::is_const_v<T>>>
    mutable_bytes(T (&array)[n]) noexcept : mutable_bytes(static_cast<void *>(array), sizeof array) // NOLINT: implicit
    {
    }
    template <class C, class = std::enable_if_t<!std::is_same_v<detail::bare<C>, mutable_bytes> &&
                                                detail::is_target<C>>>
    mutable_bytes(C &&container) // NOLINT: implicit
        : mutable_bytes(static_cast<void *>(container.data()), container.size() * sizeof(detail::element_t<C>))
    {
    }

    std::byte *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::byte *begin() const noexcept { return data_; }
    std::byte *end() const noexcept { return data_ + size_; }

private:
    std::byte *data_;
    std::size_t size_;
};

/// Bytes that are read by a put. A temporary container will do for a call that blocks.
class const_bytes {
public:
    const_bytes(const void *address, std::size_t bytes) noexcept
        : data_(static_cast<const std::byte *>(address)), size_(bytes)
    {
    }
    const_bytes(mutable_bytes bytes) noexcept : const_bytes(bytes.data(), bytes.size()) {} // NOLINT: implicit
    template <class T, std::size_t n, class = std::enable_if_t<detail::is_payload<T>>>
    const_bytes(const T (&array)[n]) noexcept : const_bytes(static_cast<const void *>(array), sizeof array) // NOLINT
    {
        static_assert(!detail::is_text<T>,
                      "an array of const char may be a literal with its NUL: use std::string_view, or address and bytes");
    }
    // An array that can be written to is no literal.
    template <class T, std::size_t n, std::enable_if_t<detail::is_text<T>, int> = 0>
    const_bytes(T (&array)[n]) noexcept : const_bytes(static_cast<const void *>(array), n) {} // NOLINT: implicit
    template <class C, class = std::enable_if_t<!std::is_same_v<detail::bare<C>, const_bytes> && detail::is_source<C>>>
    const_bytes(C &&container) // NOLINT: implicit
        : const_bytes(static_cast<const void *>(container.data()), container.size() * sizeof(detail::element_t<C>))
    {
    }

    const std::byte *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    const std::byte *begin() const noexcept { return data_; }
    const std::byte *end() const noexcept { return data_ + size_; }

private:
    const std::byte *data_;
    std::size_t size_;
};

/// A key: 1 to NIXL_STORE_KEY_BYTES_MAX bytes of any content. A text ends before its NUL; containers and arrays of bytes
/// are taken as they are. Every call here copies what it needs, so a temporary will do.
class key_view {
public:
    key_view(const void *address, std::size_t bytes) noexcept : data_(address), size_(bytes) {}
    key_view(const char *text) noexcept : key_view(text, text == nullptr ? 0 : std::strlen(text)) {} // NOLINT: implicit
    template <class T, class = std::enable_if_t<detail::is_text<T> && !std::is_same_v<T, char>>>
    key_view(const T *utf_8) noexcept // NOLINT: implicit
        : key_view(utf_8, utf_8 == nullptr ? 0 : std::char_traits<T>::length(utf_8))
    {
    }
    template <class T, std::size_t n, std::enable_if_t<detail::is_byte<T> && !detail::is_text<T>, int> = 0>
    key_view(const T (&array)[n]) noexcept : key_view(static_cast<const void *>(array), n) {} // NOLINT: implicit
    template <class C, class = std::enable_if_t<!std::is_same_v<detail::bare<C>, key_view> &&
                                                detail::is_byte<detail::element_t<const detail::bare<C>>>>>
    key_view(const C &container) // NOLINT: implicit
        : key_view(static_cast<const void *>(container.data()), container.size())
    {
    }

    const void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    const void *data_;
    std::size_t size_;
};

/// The bytes of a number or of another object without padding, such as the hash of a block, as a key. What points to them
/// is refused: its own bytes differ in every process.
template <class T> key_view key_of(const T &object) noexcept
{
    static_assert(!std::is_pointer_v<T>, "this is an address: give what it points to");
    static_assert(std::is_void_v<detail::element_t<const T>> || !detail::is_view<T>,
                  "this points to the bytes: use key_view(address, bytes)");
    static_assert(!detail::is_text<std::remove_extent_t<T>> || !std::is_array_v<T>,
                  "a text is a key by itself, without its NUL: use key_view(text), or key_view(address, bytes)");
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>,
                  "equal objects of this type may differ in their bytes");
    return {static_cast<const void *>(&object), sizeof object};
}

/// Where bytes of an object go in a get: memory whose kind the library finds out, or that is named.
class segment {
public:
    /// Host or device memory: CUDA's driver is asked, where the process has loaded it.
    segment(void *address, std::size_t bytes) noexcept : segment(address, bytes, NIXL_STORE_MEMORY_AUTO) {}
    segment(mutable_bytes bytes) noexcept : segment(bytes.data(), bytes.size(), NIXL_STORE_MEMORY_AUTO) {} // NOLINT
    template <class C, class = std::enable_if_t<!std::is_same_v<detail::bare<C>, segment> &&
                                                std::is_convertible_v<C, mutable_bytes>>>
    segment(C &&bytes) noexcept : segment(mutable_bytes(std::forward<C>(bytes))) // NOLINT: implicit
    {
    }

    explicit segment(const nixl_store_segment_t &raw) noexcept : raw_(raw) {}

    /// Host memory for certain: nobody is asked.
    static segment host(mutable_bytes bytes) noexcept
    {
        return {bytes.data(), bytes.size(), NIXL_STORE_MEMORY_HOST};
    }

    /// Device memory. device: its ordinal; none: the driver is asked.
    static segment cuda(void *address, std::size_t bytes, std::optional<unsigned> device = {}) noexcept
    {
        segment made(address, bytes, NIXL_STORE_MEMORY_CUDA);
        made.raw_.cuda_device = device ? *device + 1 : 0;
        return made;
    }
    /// The same with a CUdeviceptr.
    static segment cuda(std::uint64_t address, std::size_t bytes, std::optional<unsigned> device = {}) noexcept
    {
        return cuda(reinterpret_cast<void *>(static_cast<std::uintptr_t>(address)), bytes, device);
    }

    const nixl_store_segment_t &raw() const noexcept { return raw_; }

private:
    segment(void *address, std::size_t bytes, std::uint32_t kind) noexcept
    {
        raw_.address = address;
        raw_.length = bytes;
        raw_.memory_kind = kind;
    }
    nixl_store_segment_t raw_{};
};

/// Where bytes of an object come from in a put.
class const_segment {
public:
    const_segment(const void *address, std::size_t bytes) noexcept : const_segment(const_bytes(address, bytes)) {}
    const_segment(segment other) noexcept : raw_(other.raw()) {}                                       // NOLINT: implicit
    const_segment(const_bytes bytes) noexcept : const_segment(segment(unconst(bytes))) {}             // NOLINT: implicit
    template <class C, class = std::enable_if_t<!std::is_same_v<detail::bare<C>, const_segment> &&
                                                !std::is_same_v<detail::bare<C>, const_bytes> &&
                                                std::is_convertible_v<C, const_bytes> &&
                                                !detail::is_temporary_owner<C>>>
    const_segment(C &&bytes) noexcept : const_segment(const_bytes(std::forward<C>(bytes))) // NOLINT: implicit
    {
    }
    /// A temporary container would be gone before the batch has ended. Only a call that blocks takes it, as const_bytes.
    template <class C, std::enable_if_t<std::is_convertible_v<C, const_bytes> && detail::is_temporary_owner<C>, int> = 0>
    const_segment(C &&bytes) = delete;

    explicit const_segment(const nixl_store_segment_t &raw) noexcept : raw_(raw) {}

    /// As of segment.
    static const_segment host(const_bytes bytes) noexcept { return segment::host(unconst(bytes)); }
    template <class C, class = std::enable_if_t<std::is_convertible_v<C, const_bytes> && detail::is_temporary_owner<C>>>
    static const_segment host(C &&bytes) = delete;
    static const_segment cuda(const void *address, std::size_t bytes, std::optional<unsigned> device = {}) noexcept
    {
        return segment::cuda(const_cast<void *>(address), bytes, device);
    }
    static const_segment cuda(std::uint64_t address, std::size_t bytes, std::optional<unsigned> device = {}) noexcept
    {
        return segment::cuda(address, bytes, device);
    }

    const nixl_store_segment_t &raw() const noexcept { return raw_; }

private:
    // The C struct serves both directions; a put only reads.
    static mutable_bytes unconst(const_bytes bytes) noexcept
    {
        return {const_cast<std::byte *>(bytes.data()), bytes.size()};
    }
    nixl_store_segment_t raw_{};
};

// ======== Keys and batches ========

/// Of an item that is put; see NIXL_STORE_ITEM_*.
enum class put_flags : std::uint32_t {
    none = 0,
    keep = NIXL_STORE_ITEM_KEEP,
    keep_exact = NIXL_STORE_ITEM_KEEP | NIXL_STORE_ITEM_EXACT,
    admit = NIXL_STORE_ITEM_ADMIT,
};
/// Of an item that is got. For a range see get_batch::add_range().
enum class get_flags : std::uint32_t { none = 0, exact = NIXL_STORE_ITEM_EXACT, front = NIXL_STORE_ITEM_FRONT };

constexpr put_flags operator|(put_flags one, put_flags other) noexcept
{
    return static_cast<put_flags>(static_cast<std::uint32_t>(one) | static_cast<std::uint32_t>(other));
}
constexpr get_flags operator|(get_flags one, get_flags other) noexcept
{
    return static_cast<get_flags>(static_cast<std::uint32_t>(one) | static_cast<std::uint32_t>(other));
}

namespace detail {

// Copies of keys, one after the other, behind an array of C structs that point to them. It allocates while it grows
// and not after a clear().
template <class Entry> class keyed {
public:
    keyed() = default;
    keyed(keyed &&other) noexcept : bytes_(std::move(other.bytes_)), entries_(std::move(other.entries_)) { other.clear(); }
    keyed &operator=(keyed &&other) noexcept
    {
        bytes_.swap(other.bytes_);
        entries_.swap(other.entries_);
        if (this != &other)
            other.clear();
        return *this;
    }
    ~keyed() = default;

    void clear() noexcept
    {
        bytes_.clear();
        entries_.clear();
    }
    // key_bytes: of all keys together.
    void reserve(std::size_t entries, std::size_t key_bytes)
    {
        entries_.reserve(entries);
        if (bytes_.capacity() < key_bytes)
            grow(key_bytes);
    }
    void reserve_as(const keyed &other) { reserve(other.entries_.size(), other.bytes_.size()); }
    Entry &add(key_view key)
    {
        const std::size_t at = bytes_.size();
        // What can be no key is not copied; its length makes the call refuse the batch.
        const bool is_there = key.data() != nullptr && key.size() <= NIXL_STORE_KEY_BYTES_MAX;
        const std::size_t length = is_there ? key.size() : 0;
        entries_.emplace_back();
        Entry &entry = entries_.back();
        entry.key_length = key.size();
        std::vector<unsigned char> outgrown; // the key may lie in it
        if (bytes_.capacity() - at < length)
            outgrown = grow(std::max(2 * bytes_.capacity(), at + length));
        if (length != 0) {
            bytes_.resize(at + length);
            std::memcpy(bytes_.data() + at, key.data(), length);
            entry.key = bytes_.data() + at;
        }
        return entry;
    }
    std::vector<Entry> &entries() noexcept { return entries_; }
    const std::vector<Entry> &entries() const noexcept { return entries_; }

private:
    std::vector<unsigned char> grow(std::size_t capacity)
    {
        std::vector<unsigned char> larger;
        larger.reserve(capacity);
        larger.insert(larger.end(), bytes_.begin(), bytes_.end());
        std::size_t offset = 0;
        for (Entry &entry : entries_) {
            if (entry.key == nullptr)
                continue;
            entry.key = larger.data() + offset;
            offset += static_cast<std::size_t>(entry.key_length);
        }
        bytes_.swap(larger);
        return larger;
    }
    std::vector<unsigned char> bytes_;
    std::vector<Entry> entries_;
};

} // namespace detail

/// Keys of a chain, or of a batch of questions, in their order. It copies them, and can be used again after clear().
class keys {
public:
    keys() = default;
    /// Of any range of what converts to key_view, or has the bytes of a key as key_of() takes them.
    template <class Range, class = std::enable_if_t<!std::is_same_v<detail::bare<Range>, keys>>>
    explicit keys(const Range &range)
    {
        for (const auto &key : range) {
            static_assert(!detail::is_byte<detail::bare<decltype(key)>>,
                          "a text, or bytes one after the other, are one key: say keys{text}");
            if constexpr (std::is_convertible_v<decltype(key), key_view>)
                add(key);
            else
                add(key_of(key));
        }
    }
    keys(std::initializer_list<key_view> list)
    {
        for (const key_view key : list)
            add(key);
    }

    keys &add(key_view key) { return keyed_.add(key), *this; }
    void clear() noexcept { keyed_.clear(); }
    void reserve(std::size_t count, std::size_t key_bytes) { keyed_.reserve(count, count * key_bytes); }
    std::size_t size() const noexcept { return keyed_.entries().size(); }
    bool empty() const noexcept { return keyed_.entries().empty(); }
    const nixl_store_key_t *raw() const noexcept { return keyed_.entries().data(); }
    /// The key at an index below size().
    key_view operator[](std::size_t index) const
    {
        const nixl_store_key_t &key = span<const nixl_store_key_t>(keyed_.entries())[index];
        return {key.key, static_cast<std::size_t>(key.key_length)};
    }

private:
    friend class store;
    void reserve_as(const keys &other) { keyed_.reserve_as(other.keyed_); }
    detail::keyed<nixl_store_key_t> keyed_;
};

/// Items of a batch: keys and the memory of each. Keys and segments are copied, payloads are not: their memory is in use
/// from submit to completion. It can be submitted again, and used again after clear(), which keeps its memory.
template <class Self, class Segment, class Flags> class batch {
public:
    batch() = default;
    batch(batch &&other) noexcept : items_(std::move(other.items_)), segments_(std::move(other.segments_)) {}
    batch &operator=(batch &&other) noexcept
    {
        batch taken(std::move(other));
        std::swap(items_, taken.items_);
        segments_.swap(taken.segments_);
        return *this;
    }
    ~batch() = default;

    /// An item of one stretch of memory.
    Self &add(key_view key, Segment memory, Flags flags = Flags::none)
    {
        return add(key, flags).append(memory);
    }
    /// An item of several, one after the other.
    Self &add(key_view key, std::initializer_list<Segment> memory, Flags flags = Flags::none)
    {
        return add(key, span<const Segment>(memory.begin(), memory.size()), flags);
    }
    Self &add(key_view key, span<const Segment> memory, Flags flags = Flags::none)
    {
        add(key, flags);
        for (const Segment &part : memory)
            append(part);
        return self();
    }
    /// An item whose memory is appended next.
    Self &add(key_view key, Flags flags = Flags::none)
    {
        nixl_store_item_t &item = items_.add(key);
        item.flags = static_cast<std::uint32_t>(flags);
        return self();
    }
    /// Appends a stretch of memory to the item that was added last. There has to be one.
    Self &append(Segment memory)
    {
        if (items_.entries().empty())
            detail::die("append() to a batch without an item", "call add() first");
        const nixl_store_segment_t *const before = segments_.data();
        segments_.push_back(memory.raw());
        nixl_store_item_t &last = items_.entries().back();
        if (last.segment_count++ == 0)
            last.segments = &segments_.back();
        if (segments_.data() != before)
            relink();
        return self();
    }

    void clear() noexcept
    {
        items_.clear();
        segments_.clear();
    }
    void reserve(std::size_t items, std::size_t segments, std::size_t key_bytes)
    {
        items_.reserve(items, items * key_bytes);
        segments_.reserve(segments);
        relink();
    }
    std::size_t size() const noexcept { return items_.entries().size(); }
    bool empty() const noexcept { return items_.entries().empty(); }
    const nixl_store_item_t *raw() const noexcept { return items_.entries().data(); }

protected:
    nixl_store_item_t &last() noexcept { return items_.entries().back(); }

private:
    Self &self() noexcept { return static_cast<Self &>(*this); }
    void relink() noexcept
    {
        const nixl_store_segment_t *next = segments_.data();
        for (nixl_store_item_t &item : items_.entries()) {
            item.segments = item.segment_count == 0 ? nullptr : next;
            next += item.segment_count;
        }
    }
    detail::keyed<nixl_store_item_t> items_;
    std::vector<nixl_store_segment_t> segments_;
};

/// Objects to put.
class put_batch : public batch<put_batch, const_segment, put_flags> {
public:
    using batch::add;
    /// An item of the memory that a get would fill.
    put_batch &add(key_view key, span<const segment> memory, put_flags flags = put_flags::none)
    {
        add(key, flags);
        for (const segment &part : memory)
            append(part);
        return *this;
    }
};

/// Objects to get.
class get_batch : public batch<get_batch, segment, get_flags> {
public:
    /// An item that reads the range of the object from object_offset (bytes) on, as long as its memory.
    get_batch &add_range(key_view key, std::uint64_t object_offset, segment memory, get_flags flags = get_flags::none)
    {
        return add(key, memory, flags), make_range(object_offset);
    }
    get_batch &add_range(key_view key, std::uint64_t object_offset, std::initializer_list<segment> memory,
                         get_flags flags = get_flags::none)
    {
        return add(key, memory, flags), make_range(object_offset);
    }
    get_batch &add_range(key_view key, std::uint64_t object_offset, span<const segment> memory,
                         get_flags flags = get_flags::none)
    {
        return add(key, memory, flags), make_range(object_offset);
    }
    /// Its memory is appended next.
    get_batch &add_range(key_view key, std::uint64_t object_offset, get_flags flags = get_flags::none)
    {
        return add(key, flags), make_range(object_offset);
    }

private:
    get_batch &make_range(std::uint64_t object_offset)
    {
        last().object_offset = object_offset;
        last().flags |= NIXL_STORE_ITEM_RANGE;
        return *this;
    }
};

// ======== Times and options ========

namespace detail {

// Rounded up; `most` for what no number of milliseconds holds.
template <class Rep, class Period>
std::uint64_t to_ms(std::chrono::duration<Rep, Period> time, std::uint64_t most) noexcept
{
    using milliseconds = std::chrono::duration<double, std::milli>;
    const double count = std::chrono::duration_cast<milliseconds>(time).count();
    constexpr double exact_max = 9007199254740992.0; // 2^53, some 285,000 years
    if (!(count < exact_max))
        return most;
    if (count <= 0)
        return 0;
    const auto whole = static_cast<std::uint64_t>(count);
    return whole + (static_cast<double>(whole) < count ? 1 : 0);
}

} // namespace detail

/// How long a call waits.
class timeout {
public:
    template <class Rep, class Period>
    timeout(std::chrono::duration<Rep, Period> time) noexcept // NOLINT: implicit
        : ms_(detail::to_ms(time, NIXL_STORE_TIMEOUT_INFINITE))
    {
    }
    static timeout infinite() noexcept { return timeout(); }
    static timeout none() noexcept { return std::chrono::milliseconds(0); }
    std::uint64_t ms() const noexcept { return ms_; }

private:
    timeout() noexcept = default;
    std::uint64_t ms_ = NIXL_STORE_TIMEOUT_INFINITE;
};

/// What a batch is ordered with on a CUDA stream; see NIXL_STORE_SUBMIT_*_STREAM.
enum class stream_order : std::uint32_t {
    after = NIXL_STORE_SUBMIT_AFTER_STREAM,   ///< the batch starts after the work that is on the stream
    before = NIXL_STORE_SUBMIT_BEFORE_STREAM, ///< work that is put on the stream later waits for the batch
    both = NIXL_STORE_SUBMIT_AFTER_STREAM | NIXL_STORE_SUBMIT_BEFORE_STREAM,
};

class queue;

/// How a batch is submitted: submit_options().deadline(200ms).on(queue, 7).
class submit_options {
public:
    submit_options() noexcept { raw_.struct_size = sizeof raw_; }

    /// How long after submit an item may be started. What has passed already is taken as 1 ms.
    template <class Rep, class Period> submit_options &deadline(std::chrono::duration<Rep, Period> time) noexcept
    {
        const std::uint64_t ms = detail::to_ms(time, NIXL_STORE_DEADLINE_NONE);
        raw_.deadline_ms = ms == NIXL_STORE_DEADLINE_DEFAULT ? 1 : ms;
        return *this;
    }
    submit_options &no_deadline() noexcept { return raw_.deadline_ms = NIXL_STORE_DEADLINE_NONE, *this; }
    /// The queue that gets the completion, and a number that comes back with it. Without a queue in it, submit answers
    /// invalid_handle.
    submit_options &on(const queue &completions, std::uint64_t user_data = 0) noexcept;
    /// The stream is a CUstream or cudaStream_t.
    submit_options &stream(void *cuda_stream, stream_order order) noexcept
    {
        constexpr auto orders = static_cast<std::uint32_t>(stream_order::both);
        raw_.flags = (raw_.flags & ~orders) | static_cast<std::uint32_t>(order);
        raw_.cuda_stream = cuda_stream;
        return *this;
    }
    /// The request that the batch belongs to: any number but 0.
    submit_options &request(std::uint64_t number) noexcept { return raw_.request = number, *this; }
    /// Of a lookup: the keys are a chain, of which the prefix is wanted.
    submit_options &chain() noexcept { return raw_.flags |= NIXL_STORE_SUBMIT_CHAIN, *this; }

    nixl_store_submit_options_t &raw() noexcept { return raw_; }
    const nixl_store_submit_options_t &raw() const noexcept { return raw_; }

private:
    nixl_store_submit_options_t raw_{};
};

enum class log_level : std::uint32_t {
    error = NIXL_STORE_LOG_ERROR,
    warn = NIXL_STORE_LOG_WARN,
    info = NIXL_STORE_LOG_INFO,
    debug = NIXL_STORE_LOG_DEBUG,
};

/// One message of the log: a line, which is there during the call only.
struct log_record {
    std::chrono::system_clock::time_point time;
    log_level level;
    std::string_view message;
};

/// Receives messages, from many threads at a time, until the store is closed. It must return soon, call nothing of this
/// library, and throw nothing: what it throws ends the process.
using log_function = std::function<void(const log_record &record)>;

/// What the engine knows and the configuration does not. Strings are copied.
class open_options {
public:
    /// Bytes of the largest object.
    open_options &chunk_bytes(std::uint64_t bytes) noexcept { return raw_.chunk_bytes = bytes, *this; }
    /// Rank of this worker, below world_size.
    open_options &worker(std::uint32_t id, std::uint32_t world_size) noexcept
    {
        raw_.worker_id = id;
        raw_.world_size = world_size;
        return *this;
    }
    /// Ordinal of the device that this worker uses.
    open_options &cuda_device(std::uint32_t ordinal) noexcept
    {
        raw_.has_cuda_device = 1;
        raw_.cuda_device = ordinal;
        return *this;
    }
    open_options &cache_namespace(std::string text) { return namespace_ = std::move(text), *this; }
    /// The configuration itself, as YAML, in place of a path.
    open_options &config_text(std::string yaml) { return text_ = std::move(yaml), *this; }
    /// Kept alive by the store.
    open_options &log(log_function function) { return log_ = std::move(function), *this; }
    /// For members of the C struct that have no call here yet.
    nixl_store_open_options_t &raw() noexcept { return raw_; }

private:
    friend class store;
    nixl_store_open_options_t raw_{};
    std::string namespace_;
    std::optional<std::string> text_;
    log_function log_;
};

// ======== Tickets ========

/// How one item of a batch ended. As large as the C struct, which it is made of.
struct item_result {
    nixl_store_result_t raw{};

    item_result() noexcept { raw.status = NIXL_STORE_ERROR_NO_RESULT; }
    status code() const noexcept { return static_cast<status>(raw.status); }
    bool ok() const noexcept { return raw.status == NIXL_STORE_OK; }
    bool not_found() const noexcept { return raw.status == NIXL_STORE_NOT_FOUND; }
    bool is_error() const noexcept { return raw.status < 0; }
    /// Payload bytes moved; 0 unless ok.
    std::uint64_t bytes() const noexcept { return ok() ? raw.bytes : 0; }
    /// Bytes of the stored object where known, else 0; after buffer_too_small, what is needed.
    std::uint64_t object_length() const noexcept { return raw.object_length; }
    int os_error() const noexcept { return raw.os_error; }
};
static_assert(sizeof(item_result) == sizeof(nixl_store_result_t) && std::is_standard_layout_v<item_result>);

/// How far an item has come. code() is in_progress, what the item ended with, or an error of the call.
class [[nodiscard]] item_progress : public result<void> {
public:
    item_progress(nixl_store_status_t code, std::uint64_t bytes) : result<void>(code), bytes_(bytes) {}
    /// From the item's first on: proven and in place.
    std::uint64_t bytes() const noexcept { return bytes_; }

private:
    std::uint64_t bytes_;
};

/// A submitted batch, to be waited for. Its destructor waits; see MEMORY IN USE.
class [[nodiscard]] ticket {
public:
    ticket() noexcept = default;
    /// Takes over a batch of item_count items that was submitted in C, or release()d.
    ticket(nixl_store_t *store, nixl_store_ticket_t id, std::size_t item_count) noexcept
        : store_(store), id_(id), item_count_(item_count)
    {
    }
    ticket(ticket &&other) noexcept { swap(other); }
    ticket &operator=(ticket &&other) noexcept
    {
        ticket(std::move(other)).swap(*this);
        return *this;
    }
    ~ticket()
    {
        if (id_ == 0)
            return;
        // Where another thread closes the store, the memory is in use until it has: then the handle is stale.
        while (nixl_store_ticket_wait(store_, id_, NIXL_STORE_TIMEOUT_INFINITE, nullptr, 0, nullptr) ==
               NIXL_STORE_ERROR_CLOSING)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }

    /// Whether there is a batch to wait for still.
    explicit operator bool() const noexcept { return id_ != 0; }
    /// 0 if not. What a completion names.
    nixl_store_ticket_t id() const noexcept { return id_; }
    std::size_t item_count() const noexcept { return item_count_; }

    /// Waits until the batch completed. The ticket is then done with, whatever became of the items; it is kept if this is
    /// in_progress: the time was up.
    result<void> wait(timeout most = timeout::infinite())
    {
        const nixl_store_status_t code = nixl_store_ticket_wait(store_, id_, most.ms(), nullptr, 0, nullptr);
        result<void> ended(code);
        if (code != NIXL_STORE_IN_PROGRESS && code != NIXL_STORE_ERROR_CLOSING && code != NIXL_STORE_ERROR_FORKED)
            forget();
        return ended;
    }
    /// The same, and results gets the end of each item: item_count() of them, of no_result where there is none. It
    /// allocates only where results has too little capacity.
    result<void> wait(std::vector<item_result> &results, timeout most = timeout::infinite())
    {
        results.clear();
        results.resize(item_count_);
        return wait(span<item_result>(results), most);
    }
    /// The same into at least item_count() entries; into none, where the ends of the items are not wanted.
    result<void> wait(span<item_result> results, timeout most = timeout::infinite())
    {
        if (results.empty())
            return wait(most);
        std::size_t count = 0;
        const nixl_store_status_t code = end(results, most, count);
        return told(code, {results.data(), count});
    }

    /// in_progress, or what wait() will give. Does not wait.
    result<void> poll() const { return result<void>(nixl_store_ticket_poll(store_, id_)); }
    /// Whether wait() would not block.
    bool is_done() const noexcept { return nixl_store_ticket_poll(store_, id_) != NIXL_STORE_IN_PROGRESS; }
    /// Ends early what was not started. The memory is in use until wait() or the destructor.
    result<void> cancel() { return result<void>(nixl_store_ticket_cancel(store_, id_)); }

    /// How much of an item is proven and in place; waits for bytes_wanted of it, if they are not 0.
    item_progress progress(std::size_t item, std::uint64_t bytes_wanted = 0, timeout most = timeout::infinite()) const
    {
        std::uint64_t bytes = 0;
        const nixl_store_status_t code =
            nixl_store_ticket_progress(store_, id_, item, bytes_wanted, most.ms(), &bytes);
        return {code, bytes};
    }
    /// Later work on the stream waits for so many bytes of an item, or its end.
    result<void> stream_wait(std::size_t item, std::uint64_t bytes, void *cuda_stream) const
    {
        return result<void>(nixl_store_stream_wait(store_, id_, item, bytes, cuda_stream));
    }
    /// Later work on the stream waits for the end of all items.
    result<void> stream_wait_all(void *cuda_stream) const { return stream_wait(NIXL_STORE_ITEMS_ALL, 0, cuda_stream); }

    /// Hands the batch over: whoever has the number has to wait for it in C, or as a ticket again.
    [[nodiscard]] nixl_store_ticket_t release() noexcept { return std::exchange(id_, 0); }
    void swap(ticket &other) noexcept
    {
        std::swap(store_, other.store_);
        std::swap(id_, other.id_);
        std::swap(item_count_, other.item_count_);
    }

private:
    friend class store;
    void forget() noexcept { id_ = 0; }
    // The wait without its result, whose message may need memory: told() has it until this thread's next call.
    nixl_store_status_t end(span<item_result> results, timeout most, std::size_t &count) noexcept
    {
        const nixl_store_status_t code =
            nixl_store_ticket_wait(store_, id_, most.ms(), reinterpret_cast<nixl_store_result_t *>(results.data()),
                                   results.size(), &count);
        // The library gives as many results as the batch has items, or none.
        if (count != 0 || code == NIXL_STORE_ERROR_INVALID_HANDLE)
            forget();
        return code;
    }
    static result<void> told(nixl_store_status_t code, span<item_result> results)
    {
        result<void> ended(code);
        for (std::size_t index = 0; code < 0 && ended.os_error_ == 0 && index < results.size(); ++index) {
            if (results[index].raw.status == code)
                ended.os_error_ = results[index].raw.os_error;
        }
        return ended;
    }
    nixl_store_t *store_ = nullptr;
    nixl_store_ticket_t id_ = 0;
    std::size_t item_count_ = 0;
};

// ======== Owners of what a store gives ========

/// Says that a batch finished. Its ticket is still to be waited for, which does not block.
struct completion {
    nixl_store_completion_t raw{};

    completion() noexcept { raw.status = NIXL_STORE_ERROR_NO_RESULT; }
    nixl_store_ticket_t ticket_id() const noexcept { return raw.ticket; }
    std::uint64_t user_data() const noexcept { return raw.user_data; }
    status code() const noexcept { return static_cast<status>(raw.status); }
};
static_assert(sizeof(completion) == sizeof(nixl_store_completion_t) && std::is_standard_layout_v<completion>);

/// A completion queue with its eventfd. Batches are submitted to it by submit_options().on().
class [[nodiscard]] queue {
public:
    queue() noexcept = default;
    queue(nixl_store_t *store, nixl_store_queue_t *handle) noexcept : store_(store), handle_(handle) {}
    queue(queue &&other) noexcept : store_(other.store_), handle_(other.release()) {}
    queue &operator=(queue &&other) noexcept
    {
        queue taken(std::move(other));
        std::swap(store_, taken.store_);
        std::swap(handle_, taken.handle_);
        return *this;
    }
    ~queue()
    {
        if (handle_ != nullptr)
            (void)!nixl_store_queue_destroy(store_, handle_);
    }

    explicit operator bool() const noexcept { return handle_ != nullptr; }
    /// For poll() or epoll: readable while completions wait. It is the queue's: do not close it.
    result<int> fd() const
    {
        int descriptor = -1;
        result<void> told(nixl_store_queue_fd(store_, handle_, &descriptor));
        return told ? result<int>(descriptor) : result<int>(std::move(told));
    }
    /// Takes up to completions.size() completions, oldest first, without waiting; gives their number.
    result<std::size_t> drain(span<completion> completions) const
    {
        std::size_t count = 0;
        result<void> taken(nixl_store_queue_drain(
            store_, handle_, reinterpret_cast<nixl_store_completion_t *>(completions.data()), completions.size(), &count));
        return taken ? result<std::size_t>(count) : result<std::size_t>(std::move(taken));
    }
    /// Batches that were submitted with it go on. Without a queue it does nothing.
    result<void> destroy()
    {
        nixl_store_queue_t *const handle = release();
        return handle == nullptr ? result<void>() : result<void>(nixl_store_queue_destroy(store_, handle));
    }
    nixl_store_queue_t *raw() const noexcept { return handle_; }
    nixl_store_queue_t *release() noexcept { return std::exchange(handle_, nullptr); }

private:
    nixl_store_t *store_ = nullptr;
    nixl_store_queue_t *handle_ = nullptr;
};

inline submit_options &submit_options::on(const queue &completions, std::uint64_t user_data) noexcept
{
    // None is no handle either: NULL would ask for no completion, and whoever waits for one would wait for ever.
    raw_.queue = completions ? completions.raw() : reinterpret_cast<nixl_store_queue_t *>(std::uintptr_t{1});
    raw_.user_data = user_data;
    return *this;
}

/// One pin of one key: the object is neither evicted nor removed while this lives.
class [[nodiscard]] pinned {
public:
    pinned() noexcept = default;
    /// Takes over a pin that was made in C.
    pinned(nixl_store_t *store, key_view key) : store_(store)
    {
        // What can be no key has no pin, and is not read.
        if (key.data() != nullptr && key.size() <= NIXL_STORE_KEY_BYTES_MAX)
            key_.assign(static_cast<const char *>(key.data()), key.size());
    }
    pinned(pinned &&other) noexcept : store_(other.store_), key_(std::move(other.key_)) { other.release(); }
    pinned &operator=(pinned &&other) noexcept
    {
        pinned taken(std::move(other));
        std::swap(store_, taken.store_);
        key_.swap(taken.key_);
        return *this;
    }
    ~pinned()
    {
        if (!key_.empty())
            (void)!nixl_store_key_unpin(store_, key_.data(), key_.size());
    }

    explicit operator bool() const noexcept { return !key_.empty(); }
    /// Without a pin it does nothing.
    result<void> unpin()
    {
        const std::string key = std::move(key_);
        release();
        return key.empty() ? result<void>() : result<void>(nixl_store_key_unpin(store_, key.data(), key.size()));
    }
    /// Leaves the key pinned until the store is closed, or unpinned by another call.
    void release() noexcept { key_.clear(); }

private:
    nixl_store_t *store_ = nullptr;
    std::string key_;
};

/// Pins of those of many keys that were stored.
class [[nodiscard]] pinned_keys {
public:
    pinned_keys() noexcept = default;
    pinned_keys(pinned_keys &&other) noexcept { swap(other); }
    pinned_keys &operator=(pinned_keys &&other) noexcept
    {
        pinned_keys(std::move(other)).swap(*this);
        return *this;
    }
    ~pinned_keys() { (void)!end(); }

    /// How many keys it keeps.
    std::size_t size() const noexcept { return keys_.size(); }
    /// How many of the keys that were asked for are pinned before the first that is not.
    std::size_t prefix() const noexcept { return prefix_; }
    /// Takes back every pin, however long that takes.
    result<void> unpin() { return result<void>(end()); }
    /// Leaves the keys pinned.
    void release() noexcept
    {
        keys_.clear();
        prefix_ = 0;
    }
    void swap(pinned_keys &other) noexcept
    {
        std::swap(store_, other.store_);
        std::swap(keys_, other.keys_);
        std::swap(prefix_, other.prefix_);
    }

private:
    friend class store;
    // A pin that a deadline leaves behind would be nobody's, so there is none.
    nixl_store_status_t end() noexcept
    {
        if (keys_.empty())
            return NIXL_STORE_OK;
        const submit_options options = submit_options().no_deadline();
        nixl_store_ticket_t id = 0;
        nixl_store_status_t code = nixl_store_batch_unpin(store_, keys_.raw(), keys_.size(), &options.raw(), &id);
        if (code == NIXL_STORE_OK)
            code = nixl_store_ticket_wait(store_, id, NIXL_STORE_TIMEOUT_INFINITE, nullptr, 0, nullptr);
        else
            code = unpin_each();
        release();
        return code;
    }
    // For a batch that was refused: one key needs no ticket. The error is that of the last that failed.
    nixl_store_status_t unpin_each() noexcept
    {
        nixl_store_status_t ended = NIXL_STORE_OK;
        for (std::size_t index = 0; index < keys_.size(); ++index) {
            const nixl_store_key_t &key = keys_.raw()[index];
            const nixl_store_status_t code =
                nixl_store_key_unpin(store_, key.key, static_cast<std::size_t>(key.key_length));
            ended = code == NIXL_STORE_OK ? ended : code;
        }
        return ended;
    }

    nixl_store_t *store_ = nullptr;
    keys keys_;
    std::size_t prefix_ = 0;
};

namespace detail {

// An address that is given back by one call, as registrations and allocations are.
template <nixl_store_status_t (*give_back)(nixl_store_t *, void *)> class owned_address {
public:
    owned_address() noexcept = default;
    owned_address(nixl_store_t *store, mutable_bytes bytes) noexcept
        : store_(store), address_(bytes.data()), size_(bytes.size())
    {
    }
    owned_address(owned_address &&other) noexcept : owned_address() { swap(other); }
    owned_address &operator=(owned_address &&other) noexcept
    {
        owned_address(std::move(other)).swap(*this);
        return *this;
    }
    ~owned_address()
    {
        if (address_ != nullptr)
            (void)!give_back(store_, address_);
    }

    explicit operator bool() const noexcept { return address_ != nullptr; }
    std::byte *data() const noexcept { return address_; }
    std::size_t size() const noexcept { return size_; }
    std::byte *release() noexcept { return size_ = 0, std::exchange(address_, nullptr); }

protected:
    result<void> end()
    {
        std::byte *const address = release();
        return address == nullptr ? result<void>() : result<void>(give_back(store_, address));
    }

private:
    void swap(owned_address &other) noexcept
    {
        std::swap(store_, other.store_);
        std::swap(address_, other.address_);
        std::swap(size_, other.size_);
    }
    nixl_store_t *store_ = nullptr;
    std::byte *address_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace detail

/// Memory of the caller that is registered with a store, until this ends; that waits for the transfers that use it. It
/// has to stay mapped as long: declare it after the memory.
class [[nodiscard]] registration : public detail::owned_address<nixl_store_memory_unregister> {
public:
    using owned_address::owned_address;
    result<void> unregister() { return end(); }
};

/// Memory from a store's staging buffer, page-aligned, freed when this ends. A span of bytes wherever one is taken.
class [[nodiscard]] allocation : public detail::owned_address<nixl_store_memory_free> {
public:
    using owned_address::owned_address;
    result<void> free() { return end(); }
};

/// See nixl_store_stats_t and nixl_store_capabilities_t.
using stats = nixl_store_stats_t;
using capabilities = nixl_store_capabilities_t;

namespace detail {

inline result<std::string> metrics_text(nixl_store_t *store)
{
    std::string text;
    for (;;) {
        std::size_t length = 0;
        result<void> told(nixl_store_metrics_text(store, text.data(), text.size(), &length));
        if (told || told.code() == status::buffer_too_small)
            text.resize(length);
        if (told)
            return text;
        if (told.code() != status::buffer_too_small)
            return told;
    }
}

} // namespace detail

/// What prefix_plan() tells.
struct prefix_plan {
    std::size_t matched;  ///< leading keys that are stored
    std::size_t admitted; ///< keys behind them that puts would store
};

// ======== The store ========

/// An open store. It closes itself, which completes what is outstanding.
class store {
public:
    store() noexcept = default;

    /// Opens what the YAML file at `path` describes; nullptr: what the options or the environment say.
    static result<store> open(const char *path = nullptr, open_options options = {})
    {
        store opened;
        nixl_store_open_options_t &raw = options.raw_;
        raw.struct_size = sizeof raw;
        if (!options.namespace_.empty())
            raw.cache_namespace = options.namespace_.c_str();
        if (options.text_)
            raw.config_text = options.text_->c_str();
        if (options.log_) {
            opened.log_ = std::make_unique<log_function>(std::move(options.log_));
            raw.log_record_function = &hand_on;
            raw.log_context = opened.log_.get();
        }
        result<void> outcome(nixl_store_open(path, &raw, &opened.handle_));
        return outcome ? result<store>(std::move(opened)) : result<store>(std::move(outcome));
    }
    static result<store> open(const std::string &path, open_options options = {})
    {
        return open(path.c_str(), std::move(options));
    }
    static result<store> open(open_options options) { return open(nullptr, std::move(options)); }
    /// Takes over a store that was opened in C.
    static store adopt(nixl_store_t *handle) noexcept
    {
        store adopted;
        adopted.handle_ = handle;
        return adopted;
    }

    store(store &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)), log_(std::move(other.log_)) {}
    store &operator=(store &&other) noexcept
    {
        store taken(std::move(other));
        std::swap(handle_, taken.handle_);
        log_.swap(taken.log_);
        return *this;
    }
    ~store() { (void)!end(); }

    /// Closes it and tells how that went; without a store it does nothing. It is closed afterwards, whatever this says.
    result<void> close()
    {
        const nixl_store_status_t code = end();
        // It ends after the message was taken, because what it holds may call the library.
        const std::unique_ptr<log_function> log = std::move(log_);
        return result<void>(code);
    }
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    nixl_store_t *raw() const noexcept { return handle_; }
    /// The store is the caller's to close in C. Its log function, if it has one, lives on for ever.
    nixl_store_t *release() noexcept { return (void)log_.release(), std::exchange(handle_, nullptr); }

    // -------- One object, blocking --------

    /// May answer not_admitted.
    result<void> put(key_view key, const_bytes data) const
    {
        return result<void>(nixl_store_put(handle_, key.data(), key.size(), data.data(), data.size()));
    }
    /// Gives the length of the object, or not_found.
    result<std::size_t> get(key_view key, mutable_bytes buffer) const
    {
        std::size_t length = 0;
        result<void> got(nixl_store_get(handle_, key.data(), key.size(), buffer.data(), buffer.size(), &length));
        return got ? result<std::size_t>(length) : result<std::size_t>(std::move(got));
    }
    /// Gives the object in memory that this allocates, or not_found.
    result<std::vector<std::byte>> get(key_view key) const
    {
        result<std::uint64_t> stored = length(key);
        if (!stored)
            return result<void>(std::move(stored));
        std::vector<std::byte> bytes(static_cast<std::size_t>(*stored));
        for (;;) {
            // A larger one may be put meanwhile, hence the loop.
            std::size_t needed = 0;
            result<void> got(nixl_store_get(handle_, key.data(), key.size(), bytes.data(), bytes.size(), &needed));
            if (!got && got.code() != status::buffer_too_small)
                return got;
            bytes.resize(needed);
            if (got)
                return bytes;
        }
    }

    // -------- Batches: these return at once. A ticket that is dropped waits. --------

    result<ticket> submit_put(const put_batch &items, const submit_options &options = {}) const
    {
        return submit(nixl_store_batch_put, items, options);
    }
    result<ticket> submit_get(const get_batch &items, const submit_options &options = {}) const
    {
        return submit(nixl_store_batch_get, items, options);
    }
    result<ticket> submit_lookup(const keys &list, const submit_options &options = {}) const
    {
        return submit(nixl_store_batch_lookup, list, options);
    }
    result<ticket> submit_remove(const keys &list, const submit_options &options = {}) const
    {
        return submit(nixl_store_batch_remove, list, options);
    }
    /// What ends well is pinned until it is unpinned: pin() has an owner for that.
    result<ticket> submit_pin(const keys &list, const submit_options &options = {}) const
    {
        return submit(nixl_store_batch_pin, list, options);
    }
    result<ticket> submit_unpin(const keys &list, const submit_options &options = {}) const
    {
        return submit(nixl_store_batch_unpin, list, options);
    }

    /// As ticket::cancel(), for another thread than the one that waits: by the ticket's id().
    result<void> cancel(nixl_store_ticket_t id) const { return result<void>(nixl_store_ticket_cancel(handle_, id)); }

    // -------- Keys --------

    /// True if it is stored; else not_found, or an error.
    result<void> contains(key_view key) const
    {
        return result<void>(nixl_store_key_contains(handle_, key.data(), key.size()));
    }
    /// Bytes of the object, or not_found.
    result<std::uint64_t> length(key_view key) const
    {
        std::uint64_t bytes = 0;
        result<void> told(nixl_store_key_length(handle_, key.data(), key.size(), &bytes));
        return told ? result<std::uint64_t>(bytes) : result<std::uint64_t>(std::move(told));
    }
    /// May answer not_found or pinned.
    result<void> remove(key_view key) const
    {
        return result<void>(nixl_store_key_remove(handle_, key.data(), key.size()));
    }
    /// Or not_found.
    result<pinned> pin(key_view key) const
    {
        // What needs memory is had before there is a pin.
        pinned kept(handle_, key);
        const nixl_store_status_t code = nixl_store_key_pin(handle_, key.data(), key.size());
        if (code == NIXL_STORE_OK)
            return kept;
        kept.release();
        return result<void>(code);
    }
    /// Pins those of the keys that are stored; after an error none is.
    result<pinned_keys> pin(const keys &list) const
    {
        pinned_keys kept;
        if (list.empty())
            return kept;
        // What needs memory is had before there are pins.
        kept.store_ = handle_;
        kept.keys_.reserve_as(list);
        std::vector<item_result> results(list.size());
        result<ticket> submitted = submit_pin(list);
        if (!submitted)
            return result<void>(std::move(submitted));
        std::size_t count = 0;
        const nixl_store_status_t code = submitted->end(results, timeout::infinite(), count);
        for (std::size_t index = 0; index < count; ++index) {
            if (!results[index].ok())
                continue;
            kept.prefix_ += kept.prefix_ == index ? 1 : 0;
            kept.keys_.add(list[index]);
        }
        result<void> ended = ticket::told(code, {results.data(), count});
        return ended.is_error() ? result<pinned_keys>(std::move(ended)) : result<pinned_keys>(std::move(kept));
    }
    /// For a pin that no owner has. Or not_found.
    result<void> unpin(key_view key) const
    {
        return result<void>(nixl_store_key_unpin(handle_, key.data(), key.size()));
    }
    /// How many leading keys of the chain are stored.
    result<std::size_t> prefix_match(const keys &chain) const
    {
        std::size_t matched = 0;
        result<void> told(nixl_store_prefix_match(handle_, chain.raw(), chain.size(), &matched));
        return told ? result<std::size_t>(matched) : result<std::size_t>(std::move(told));
    }
    /// And how many behind those would be stored. object_bytes: of each object; 0: as the stored ones. request: or 0.
    result<nixl_store::prefix_plan> prefix_plan(const keys &chain, std::uint64_t object_bytes = 0,
                                                std::uint64_t request = 0) const
    {
        nixl_store::prefix_plan plan{};
        result<void> told(nixl_store_prefix_plan(handle_, chain.raw(), chain.size(), object_bytes, request, &plan.matched,
                                                 &plan.admitted));
        return told ? result<nixl_store::prefix_plan>(plan) : result<nixl_store::prefix_plan>(std::move(told));
    }
    /// Removes every key that is not pinned; gives their number.
    result<std::uint64_t> clear() const
    {
        std::uint64_t removed = 0;
        result<void> cleared(nixl_store_clear(handle_, &removed));
        return cleared ? result<std::uint64_t>(removed) : result<std::uint64_t>(std::move(cleared));
    }

    // -------- Queues, memory, operations --------

    result<queue> create_queue() const
    {
        nixl_store_queue_t *made = nullptr;
        result<void> created(nixl_store_queue_create(handle_, &made));
        return created ? result<queue>(queue(handle_, made)) : result<queue>(std::move(created));
    }
    /// Host or device memory.
    result<registration> register_memory(mutable_bytes memory) const
    {
        result<void> known(nixl_store_memory_register(handle_, memory.data(), memory.size()));
        return known ? result<registration>(registration(handle_, memory)) : result<registration>(std::move(known));
    }
    result<allocation> allocate(std::size_t bytes) const
    {
        void *address = nullptr;
        result<void> had(nixl_store_memory_allocate(handle_, bytes, &address));
        return had ? result<allocation>(allocation(handle_, {address, bytes})) : result<allocation>(std::move(had));
    }
    /// What was put survives a loss of power from then on.
    result<void> flush() const { return result<void>(nixl_store_flush(handle_)); }
    result<nixl_store::stats> stats() const
    {
        nixl_store::stats numbers{};
        numbers.struct_size = sizeof numbers;
        result<void> read(nixl_store_stats_read(handle_, &numbers));
        return read ? result<nixl_store::stats>(numbers) : result<nixl_store::stats>(std::move(read));
    }
    result<nixl_store::capabilities> capabilities() const
    {
        nixl_store::capabilities told{};
        told.struct_size = sizeof told;
        result<void> read(nixl_store_capabilities_read(handle_, &told));
        return read ? result<nixl_store::capabilities>(told) : result<nixl_store::capabilities>(std::move(read));
    }

    /// All that is measured, in the form of OpenMetrics.
    result<std::string> metrics_text() const { return detail::metrics_text(handle_); }

private:
    nixl_store_status_t end() noexcept
    {
        nixl_store_t *const handle = std::exchange(handle_, nullptr);
        const nixl_store_status_t code = handle == nullptr ? NIXL_STORE_OK : nixl_store_close(handle);
        // Another thread, in C, is closing it still, and may log.
        if (code == NIXL_STORE_ERROR_CLOSING)
            (void)log_.release();
        return code;
    }
    static void hand_on(void *context, const nixl_store_log_record_t *record) noexcept
    {
        // The clock's ticks may be coarser.
        const std::chrono::nanoseconds since_1970(record->time_unix_ns);
        const auto ticks = std::chrono::duration_cast<std::chrono::system_clock::duration>(since_1970);
        const auto level = static_cast<log_level>(record->level);
        (*static_cast<const log_function *>(context))(
            {std::chrono::system_clock::time_point(ticks), level, record->message});
    }
    template <class Call, class Items>
    result<ticket> submit(Call call, const Items &items, const submit_options &options) const
    {
        nixl_store_ticket_t id = 0;
        result<void> submitted(call(handle_, items.raw(), items.size(), &options.raw(), &id));
        return submitted ? result<ticket>(ticket(handle_, id, items.size())) : result<ticket>(std::move(submitted));
    }

    nixl_store_t *handle_ = nullptr;
    std::unique_ptr<log_function> log_;
};

/// As store::metrics_text(), of all stores that are open in this process, in one text.
inline result<std::string> metrics_text() { return detail::metrics_text(nullptr); }

/// Of the library that is loaded, such as "0.1.0".
inline const char *version() noexcept { return nixl_store_version(); }
inline std::uint32_t abi_version() noexcept { return nixl_store_abi_version(); }

} // namespace v0_1
} // namespace nixl_store

#endif // NIXL_STORE_HPP
