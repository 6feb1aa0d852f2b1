//! The one database: typed tables, single writer, migrations, events committed with the change
