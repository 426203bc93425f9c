//! One transfer: which bytes go direct, which through staging, retries, tickets.
