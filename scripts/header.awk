# Lays out what cbindgen wrote, for a reader of C. It changes comments, one number and adds two macros, nothing else:
#
# - a line "======== Title ========" at the start of a comment becomes a comment of its own in front of it, so that the
#   title of a section is not part of the description of whatever comes first in it;
# - a comment of one line goes behind a constant, or onto one line in front of anything else;
# - paragraphs, items of lists and descriptions of arguments of any other comment are filled anew, as what a line of Rust
#   has room for is not what is left here; lines that are indented by four or more are code and stay;
# - NIXL_STORE_NODISCARD stands in front of every function that returns a status;
# - NIXL_STORE_VERSION_STRING is made of the three numbers, as cbindgen takes no text for a constant;
# - the largest size is SIZE_MAX, for which cbindgen has a cast, that no preprocessor can compare.

BEGIN {
    LINE_MAX = 120
    # Where comments behind constants begin: past the longest name with its value.
    COMMENT_COLUMN = 48
}

function with_comment(line, comment) {
    return sprintf("%-" (COMMENT_COLUMN - 1) "s", line) " /**< " comment " */"
}

/^#define NIXL_STORE_VERSION_/ { version = version (version == "" ? "" : ".") $3 }

{ sub(/\(size_t\)UINT64_MAX/, "SIZE_MAX") }

# A comment is held back until it is known what it describes.
/^ *\/\*\*$/ { held = 1; count = 0; indent = $0; sub(/\/\*\*$/, "", indent); next }
held && /^ *\*\/$/ { held = 0; ready = 1; next }
held { line = $0; sub(/^ *\* ?/, "", line); text[++count] = line; next }

# The first line behind a comment is what it describes.
ready {
    ready = 0
    first = 1
    if (text[1] ~ /^======== .* ========$/) {
        print ""
        print "/* " text[1] " */"
        print ""
        blank = constant = 0
        first = text[2] == "" ? 3 : 2
    }
    if (first == count && /^#define /) {
        trailing = with_comment($0, text[first])
        if (length(trailing) <= LINE_MAX) {
            gap(constant)
            print trailing
            if ($2 == "NIXL_STORE_VERSION_PATCH")
                print with_comment("#define NIXL_STORE_VERSION_STRING \"" version "\"", "All three together.")
            constant = 1
            next
        }
    }
    gap(0)
    single = indent "/** " text[first] " */"
    if (first == count && length(single) <= LINE_MAX) {
        print single
    } else if (first <= count) {
        print indent "/**"
        fill_comment()
        print indent " */"
    }
    constant = 0
}

# Prints the lines of the comment, each paragraph with as many words to a line as it has room for.
function fill_comment(    i, line, ends) {
    paragraph = hang = ""
    ends = 1
    for (i = first; i <= count; i++) {
        line = text[i]
        if (line == "" || line ~ /^    /) {
            print_paragraph()
            print indent (line == "" ? " *" : " * " line)
            ends = 1
            continue
        }
        # An argument, or several, is described where a sentence has ended.
        if (line ~ /^- / || (ends && line ~ /^[a-z_]+(, [a-z_]+)*: /) || (hang != "" && line !~ /^ /)) print_paragraph()
        if (line ~ /^- /) hang = "  "
        sub(/^ +/, "", line)
        paragraph = paragraph == "" ? line : paragraph " " line
        ends = line ~ /[.:]$/
    }
    print_paragraph()
}

function print_paragraph(    words, word, line, i) {
    words = split(paragraph, word, " ")
    line = ""
    for (i = 1; i <= words; i++) {
        if (line != "" && length(indent " * " line " " word[i]) > LINE_MAX) {
            print indent " * " line
            line = hang word[i]
        } else {
            line = line == "" ? word[i] : line " " word[i]
        }
    }
    if (line != "") print indent " * " line
    paragraph = hang = ""
}

# Empty lines wait for what follows them: constants on one line each stand together.
/^$/ { blank = 1; next }
{ gap(0); constant = 0 }

function gap(together) {
    if (blank && !together) print ""
    blank = 0
}

/^nixl_store_status_t nixl_store_/ { print "NIXL_STORE_NODISCARD" }
{ print }
