"""Results of expensive resolvers, kept until an event changes what they depend on."""
