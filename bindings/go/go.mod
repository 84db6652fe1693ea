module railbus

go 1.24
