// A checked longjmp takes a jump to another fiber's stack for an error.
#undef _FORTIFY_SOURCE

#include "warp.h"

#include <csetjmp>
#include <memory>
#include <new>

#include <sys/mman.h>
#include <ucontext.h>

namespace shim {
namespace {

constexpr std::size_t STACK_BYTES = 128 * 1024;

enum class At { READY, EXCHANGE, SYNCHRONISE, END, FAULT };

struct Lane {
    ucontext_t entry;
    std::jmp_buf where;
    bool entered;
    At at;
    unsigned mask;
    unsigned distance;
    unsigned long long word;
    unsigned long long received;
};

/// The stacks of a warp's lanes. One that overflows meets the inaccessible page below it.
class Stacks {
public:
    Stacks() : base(mmap(nullptr, LANES * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        if (base == MAP_FAILED) {
            throw std::bad_alloc();
        }
        for (unsigned lane = 0; lane < LANES; ++lane) {
            if (mprotect(of(lane), GUARD_BYTES, PROT_NONE) != 0) {
                munmap(base, LANES * STACK_BYTES);
                throw std::bad_alloc();
            }
        }
    }
    ~Stacks() { munmap(base, LANES * STACK_BYTES); }
    Stacks(const Stacks &) = delete;
    Stacks &operator=(const Stacks &) = delete;

    void *of(unsigned lane) const { return static_cast<char *>(base) + lane * STACK_BYTES; }

private:
    /// A page of any processor.
    static constexpr std::size_t GUARD_BYTES = 64 * 1024;

    void *base;
};

class Warp {
public:
    Warp(const Memory &memory, const std::function<void()> &body) : memory(memory), body(body) {
        for (unsigned at = 0; at < LANES; ++at) {
            Lane &lane = lanes[at];
            getcontext(&lane.entry);
            lane.entry.uc_stack.ss_sp = stacks.of(at);
            lane.entry.uc_stack.ss_size = STACK_BYTES;
            lane.entry.uc_link = nullptr;
            makecontext(&lane.entry, &Warp::enter, 0);
        }
    }

    /// Runs the lanes of one warp from the beginning of the body to its end.
    bool run_lanes(unsigned first_thread) {
        for (Lane &lane : lanes) {
            lane.at = At::READY;
        }
        for (;;) {
            backwards = !backwards;
            for (unsigned turn = 0; turn < LANES; ++turn) {
                running = backwards ? LANES - 1 - turn : turn;
                place.thread = {first_thread + running, 0, 0};
                resume();
                if (lanes[running].at == At::FAULT) {
                    return false;
                }
            }
            if (!meet()) {
                return false;
            }
            if (lanes[0].at == At::END) {
                return true;
            }
        }
    }

    /// Called by a lane: gives the turn back, and returns when it is this lane's again.
    void wait(At at, unsigned mask, unsigned long long word, unsigned distance) {
        Lane &lane = lanes[running];
        lane.at = at;
        lane.mask = mask;
        lane.word = word;
        lane.distance = distance;
        if (_setjmp(lane.where) == 0) {
            std::longjmp(scheduler, 1);
        }
    }

    [[noreturn]] void end_with(const char *what) {
        fault = what;
        lanes[running].at = At::FAULT;
        std::longjmp(scheduler, 1);
    }

    unsigned long long received() const { return lanes[running].received; }

    const Memory &memory;
    Place place = {};
    const char *fault = nullptr;

private:
    static void enter();

    /// Gives the turn to the running lane, and returns when it gives it back. In a function of its own, so that no
    /// variable of the loop around it lives in a register across the jump.
    __attribute__((noinline)) void resume() {
        Lane &lane = lanes[running];
        if (_setjmp(scheduler) != 0) {
            return;
        }
        if (lane.entered) {
            std::longjmp(lane.where, 1);
        }
        lane.entered = true;
        setcontext(&lane.entry);
    }

    /// All lanes have stopped: they have to be at the same thing, and then get what they came for.
    bool meet() {
        for (const Lane &lane : lanes) {
            if (lane.at != lanes[0].at) {
                const bool ended = lane.at == At::END || lanes[0].at == At::END;
                fault = ended ? "a lane ended while others wait for it"
                              : "lanes wait for each other at different things";
                return false;
            }
            if (lane.at != At::END && lane.mask != ALL_LANES) {
                fault = "a mask leaves out lanes that take part";
                return false;
            }
            if (lane.at == At::EXCHANGE && (lane.distance != lanes[0].distance || lane.distance >= LANES)) {
                fault = "lanes do not agree with whom they exchange words";
                return false;
            }
        }
        for (unsigned at = 0; at < LANES; ++at) {
            lanes[at].received = lanes[at ^ (lanes[at].distance % LANES)].word;
        }
        return true;
    }

    const std::function<void()> &body;
    Stacks stacks;
    Lane lanes[LANES] = {};
    std::jmp_buf scheduler;
    unsigned running = 0;
    bool backwards = false;
};

/// The warp that this thread runs.
thread_local Warp *current = nullptr;

void Warp::enter() {
    Warp *const warp = current;
    for (;;) {
        warp->body();
        warp->wait(At::END, ALL_LANES, 0, 0);
    }
}

}  // namespace

const Place &place() { return current->place; }

unsigned long long exchange(unsigned mask, unsigned long long word, unsigned distance) {
    current->wait(At::EXCHANGE, mask, word, distance);
    return current->received();
}

void synchronise(unsigned mask) { current->wait(At::SYNCHRONISE, mask, 0, 0); }

void check_access(const void *address, unsigned long long bytes, Access access) {
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
        current->end_with(access == Access::READ ? "a load that is not aligned" : "a store that is not aligned");
    }
    if (!current->memory.allows(address, bytes, access)) {
        current->end_with(access == Access::READ ? "a load out of bounds" : "a store out of bounds");
    }
}

const char *run(unsigned blocks, unsigned threads, const Memory &memory, const std::function<void()> &body) {
    const auto warp = std::make_unique<Warp>(memory, body);
    current = warp.get();
    warp->place.threads = {threads, 1, 1};
    warp->place.blocks = {blocks, 1, 1};
    for (unsigned block = 0; block < blocks && warp->fault == nullptr; ++block) {
        warp->place.block = {block, 0, 0};
        for (unsigned first = 0; first < threads; first += LANES) {
            if (!warp->run_lanes(first)) {
                break;
            }
        }
    }
    current = nullptr;
    return warp->fault;
}

}  // namespace shim
