//! JSON types of the Docker Engine API and their conversion to and from proto.
