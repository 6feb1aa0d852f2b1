//! One small single-threaded supervisor per container: stdio, logs, reaping, exit record
