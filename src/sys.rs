//! System calls that std does not wrap, as safe functions over file descriptors.
