// The parts of the check, and how they say what they found.
#pragma once

namespace test {

/// Counts; says what was expected and where if it is not so.
bool expect(bool is_so, const char *what, const char *file, int line);

#define EXPECT(condition) test::expect((condition), #condition, __FILE__, __LINE__)

/// Each says what it compared, on standard output.
void check_shim();
void check_launch();
void check_checksum(const char *table_path);
void check_copy();

}  // namespace test
