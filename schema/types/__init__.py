"""The building blocks of object types and inputs: views, fields, connections, filters, enums, scalars, costs."""
