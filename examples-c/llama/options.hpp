// The command line of llama_kv_reuse.
#pragma once

#include <cstddef>
#include <string>

namespace llama_kv {

struct Options {
    std::string model;
    std::string config;   // empty: $LMCACHE_CONFIG_FILE
    std::string document; // file whose text begins the prompt
    std::string question; // text that ends it
    std::string report;   // file to write results to, as lines of name=value; empty: none
    std::size_t prompt_tokens = 0; // cuts the document so that the prompt has this many; 0: does not
    std::size_t generate = 64;
    std::size_t block_tokens = 64;
    std::size_t forget_block = no_block; // a block to remove from the store first
    int threads = 0;                     // 0: one for each processor
    bool use_store = true;
    bool verify = false;

    static constexpr std::size_t no_block = static_cast<std::size_t>(-1);
};

// Throws std::runtime_error that says what is wrong. "--help" prints and ends the program.
Options parse_options(int argc, char **argv);

} // namespace llama_kv
