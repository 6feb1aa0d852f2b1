//! Images: pull, push, unpack, load, save, import, commit, history
