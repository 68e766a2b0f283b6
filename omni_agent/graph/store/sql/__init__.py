"""How runs lie in a database: tables, migrations, and every statement. Needs SQLAlchemy (extra `store`)."""
