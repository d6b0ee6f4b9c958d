"""What people look at: dashboards as code, written into the chart.

It decides which questions a dashboard answers and with which query. It measures nothing: metrics are named and set
where things happen (`roadstead.kernel.metrics`, the workloads).
"""
