//! The services against fakes that speak their documented APIs over real HTTP.
