//! Go text/template as Docker's --format uses it
