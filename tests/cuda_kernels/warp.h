// A warp on a CPU: 32 fibers that run in turns and meet where the code says that lanes meet.
//
// A lane runs until it exchanges words with the others, synchronises with them, or ends. When all have come that far,
// the exchange is made and they go on, in an order that is another one each time. So what a lane learns of another
// one it can only have learnt in an exchange: code that forgets one sees old words, and code whose lanes part ways
// before one is told that a lane is missing, where a GPU would hang or go on with garbage.
#pragma once

#include <functional>

#include "memory.h"

namespace shim {

constexpr unsigned LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffff;

struct Index {
    unsigned x;
    unsigned y;
    unsigned z;
};

/// Where in the grid the running lane is.
struct Place {
    Index thread;
    Index block;
    Index threads;
    Index blocks;
};

const Place &place();

/// The word of the lane whose number differs in the bits of `distance`. All lanes have to come here together.
unsigned long long exchange(unsigned mask, unsigned long long word, unsigned distance);

/// Goes on when all lanes are here.
void synchronise(unsigned mask);

/// Ends the launch if the running lane may not touch these bytes, or not at this alignment.
void check_access(const void *address, unsigned long long bytes, Access access);

/// Runs `body` for each thread of a grid of one dimension, whose blocks are whole warps. What the lanes may touch is in
/// `memory`. Returns what went wrong, in static words; nullptr if nothing did. A launch that went wrong ended there.
const char *run(unsigned blocks, unsigned threads, const Memory &memory, const std::function<void()> &body);

}  // namespace shim
