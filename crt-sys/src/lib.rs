//! Raw bindings to the AWS Common Runtime.
